//! The engine's errors as the package's exceptions, with the engine's message.
//!
//! The classes are Python's (`wingbeat/_errors.py`), as some of them have two bases. Which one it is depends on what went
//! wrong and, for files, on what was being read.

use pyo3::{import_exception, prelude::*};
use std::io;
use wingbeat::{Error, FormatError, ModelError, TokenizerError, sampler::SamplerError};

import_exception!(wingbeat._errors, WingbeatError);
import_exception!(wingbeat._errors, ModelFileError);
import_exception!(wingbeat._errors, MissingFileError);
import_exception!(wingbeat._errors, DeviceError);
import_exception!(wingbeat._errors, StateError);
import_exception!(wingbeat._errors, InputError);

/// What a call was about: whose fault a broken file is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Opening a model, or running it on what was given.
    Model,
    /// Reading or writing a state.
    State,
}

/// The exception of an error.
pub(crate) fn exception(error: Error, about: About) -> PyErr {
    let message = error.to_string();
    let of_file = |message: String| match about {
        About::Model => ModelFileError::new_err(message),
        About::State => StateError::new_err(message),
    };
    match error {
        Error::Io { source, .. } | Error::Format(FormatError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            MissingFileError::new_err(message)
        }
        Error::Io { .. } | Error::Format(_) => of_file(message),
        Error::Model(ModelError::TokenOutOfRange { .. } | ModelError::PartOfLayers { .. }) => {
            InputError::new_err(message)
        }
        Error::Model(ModelError::Backend(_)) | Error::Backend(_) | Error::Gpu(_) => {
            DeviceError::new_err(message)
        }
        Error::Model(ModelError::Stopped { .. }) => WingbeatError::new_err(message),
        Error::Model(_)
        | Error::NoVocabulary { .. }
        | Error::VocabularyMismatch { .. }
        | Error::Adapter { .. } => ModelFileError::new_err(message),
        Error::Tokenizer(
            TokenizerError::NoToken { .. }
            | TokenizerError::NoTokenInBatch { .. }
            | TokenizerError::UnknownId { .. },
        ) => InputError::new_err(message),
        Error::Tokenizer(_) => ModelFileError::new_err(message),
        Error::Sampler(SamplerError::OutOfRange { .. } | SamplerError::WindowTooLong { .. })
        | Error::Stop(_)
        | Error::NoSlab { .. }
        | Error::NothingToContinue
        | Error::EmptyInput { .. }
        | Error::NoLayer { .. }
        | Error::EmptyText => InputError::new_err(message),
        Error::Blend { .. } | Error::CacheFolder { .. } => InputError::new_err(message),
        Error::StateNotFinite { .. } if about == About::Model => InputError::new_err(message),
        Error::ForeignState { .. }
        | Error::NotAState { .. }
        | Error::TunedState { .. }
        | Error::StateNotFinite { .. } => StateError::new_err(message),
        _ => WingbeatError::new_err(message),
    }
}

/// The exception of an argument that cannot be what it is.
pub(crate) fn wrong(what: &str, expected: &str, found: impl std::fmt::Display) -> PyErr {
    InputError::new_err(format!("{what}: expected {expected}, found {found}"))
}

/// A whole number of Python's, of whatever size, as one of ours; none of ours is below 0.
pub(crate) fn count<T: TryFrom<i128>>(what: &str, value: i128) -> PyResult<T> {
    T::try_from(value).map_err(|_| wrong(what, "an int from 0 on, of at most 64 bits", value))
}
