//! Errors put on one line.

use super::one_line;
use anyhow::anyhow;

#[test]
fn causes_are_joined_once_and_on_one_line() {
    let error = anyhow!("disk full").context("a\nb: cannot write: disk full").context("saving");
    assert_eq!(one_line(&error), "saving: a\\nb: cannot write: disk full");
}
