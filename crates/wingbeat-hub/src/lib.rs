//! Models of the Hugging Face hub: found, fetched into the hub's standard cache, and found there again without a network.
//!
//! The very beginning of the data path: a name such as `user/repo:q8_0` in, the path of a model file out, which
//! `wingbeat` opens as any other. A [`Hub`] is where to ask and where to keep ([`Settings`], from the environment as the
//! hub's own tools read it); a [`Reference`] is what a person types. `listing` reads what a repository has, `choose` finds
//! the model files in it, `http` talks, `download` fetches one file (resumed, checked, in place only when it is complete),
//! `cache` knows the folders. What is inside the files is not this crate's business.
//!
//! ```no_run
//! use wingbeat_hub::{Hub, Settings};
//!
//! let hub = Hub::new(Settings::from_env()?);
//! let model = hub.locate(&"user/repo:q8_0".parse()?, &mut |_| true)?;
//! println!("{}", model.path.display());
//! # Ok::<(), wingbeat_hub::HubError>(())
//! ```
#![forbid(unsafe_code)]

mod cache;
mod choose;
mod download;
mod error;
mod http;
mod hub;
mod listing;
mod reference;
mod settings;

pub use cache::{Cached, CachedModel, Partial};
pub use error::HubError;
pub use hub::{Hub, Located, Progress};
pub use reference::Reference;
pub use settings::Settings;
