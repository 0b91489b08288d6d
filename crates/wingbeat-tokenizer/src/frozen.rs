//! Tables that are made once and read from then on, wherever they lie.
//!
//! Those of the World vocabulary are a part of the program (`world.rs`) and cost nothing to have; all others are
//! made at run time and shared. Whoever reads a table sees a slice either way.

use std::ops::Deref;
use std::sync::Arc;

/// A table of `T` that nobody changes any more. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum Frozen<T: 'static> {
    /// A part of the program.
    Bundled(&'static [T]),
    /// Made at run time. (Not `Arc<[T]>`: making that of a vector would copy it.)
    Made(Arc<Vec<T>>),
}

impl<T> Deref for Frozen<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Frozen::Bundled(table) => table,
            Frozen::Made(table) => table,
        }
    }
}

impl<T> From<Vec<T>> for Frozen<T> {
    fn from(table: Vec<T>) -> Frozen<T> {
        Frozen::Made(Arc::new(table))
    }
}

/// Equal contents; the same table is known without a look at them.
impl<T: Eq> PartialEq for Frozen<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq::<[T]>(&**self, &**other) || **self == **other
    }
}

impl<T: Eq> Eq for Frozen<T> {}
