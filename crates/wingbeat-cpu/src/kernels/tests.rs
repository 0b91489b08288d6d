//! Every kernel against its portable twin, on this processor's instruction sets.
