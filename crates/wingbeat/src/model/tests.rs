//! When a model runs on the CPU though a GPU was tried.

use super::or_on_cpu;
use crate::{Error, GpuError};
use wingbeat_backend::BackendError;
use wingbeat_model::ModelError;

/// What became of trying a GPU that answers so: the device, and the note.
fn outcome(on_gpu: Result<&'static str, Error>) -> Result<(&'static str, Option<String>), Error> {
    or_on_cpu(on_gpu, || Ok("cpu"))
}

fn too_large() -> BackendError {
    BackendError::ModelTooLarge { device: "GPU Small".to_owned(), needed_mb: 9000, found_mb: 8000 }
}

#[test]
fn a_gpu_is_used_where_it_can_be() {
    assert_eq!(outcome(Ok("gpu")).expect("a device"), ("gpu", None));
}

#[test]
fn no_gpu_is_nothing_to_speak_of() {
    let none = GpuError::NoAdapter { wanted: "any".to_owned(), found: String::new() };
    assert_eq!(outcome(Err(none.into())).expect("a device"), ("cpu", None));
}

#[test]
fn a_gpu_that_cannot_take_the_model_is_passed_over_with_a_note() {
    let refused = GpuError::NoDevice { adapter: "Odd".to_owned(), why: "busy".to_owned() };
    let lost = BackendError::Device { device: "GPU Odd".to_owned(), what: "lost".to_owned() };
    let errors: [Error; 4] =
        [too_large().into(), ModelError::Backend(too_large()).into(), refused.into(), lost.into()];
    for error in errors {
        let expected = format!("{error}: running on the CPU instead");
        assert_eq!(outcome(Err(error)).expect("a device"), ("cpu", Some(expected)));
    }
}

#[test]
fn what_is_wrong_with_the_file_is_wrong_everywhere() {
    assert!(matches!(outcome(Err(Error::EmptyText)), Err(Error::EmptyText)));
    let nothing = or_on_cpu::<()>(Err(too_large().into()), || Err(Error::EmptyText));
    assert!(matches!(nothing, Err(Error::EmptyText)), "the CPU's error is what counts");
}
