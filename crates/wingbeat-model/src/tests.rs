//! Files that are nearly models: what the loader says about them.
