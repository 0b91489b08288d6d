//! Texts as Python has them: `str`, `bytes`, or token ids; one or many.
//!
//! Between a call's arguments and the engine, which takes tokens.

use crate::errors::{InputError, wrong};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyByteArray, PyBytes, PyInt, PyList, PyString, PyTuple},
};
use std::borrow::Cow;
use wingbeat::{Error, Model};

/// A text.
pub(crate) enum Text {
    /// Not tokenized yet.
    Bytes(Vec<u8>),
    /// Token ids.
    Ids(Vec<u32>),
}

/// One text or several: one gets one result, a list gets one for each.
pub(crate) enum Texts {
    /// Given by itself.
    One(Text),
    /// Given in a list.
    Many(Vec<Text>),
}

impl Text {
    /// A text. what: the argument's name.
    pub(crate) fn extract(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Text> {
        if let Some(bytes) = bytes_of(object)? {
            return Ok(Text::Bytes(bytes));
        }
        Ok(Text::Ids(ids(object, what)?))
    }

    /// Its tokens.
    pub(crate) fn tokens(self, model: &Model) -> Result<Vec<u32>, Error> {
        match self {
            Text::Bytes(bytes) => Ok(model.tokenizer()?.encode(&bytes)?),
            Text::Ids(ids) => Ok(ids),
        }
    }
}

impl Texts {
    /// One or several texts. what: the argument's name.
    pub(crate) fn extract(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Texts> {
        if let Some(bytes) = bytes_of(object)? {
            return Ok(Texts::One(Text::Bytes(bytes)));
        }
        let objects = list(object, what)?;
        if objects.iter().any(|object| is_int(object)) {
            return Ok(Texts::One(Text::Ids(ids_in(&objects, what)?)));
        }
        let text = |(i, object)| Text::extract(object, &format!("{what}[{i}]"));
        Ok(Texts::Many(objects.iter().enumerate().map(text).collect::<PyResult<_>>()?))
    }

    /// Several texts: a lone one is an error, as there is no telling a list of letters from a text.
    pub(crate) fn extract_list(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Text>> {
        match Texts::extract(object, what)? {
            Texts::Many(texts) => Ok(texts),
            Texts::One(_) => {
                Err(PyTypeError::new_err(format!("{what}: expected a list of texts, found one")))
            }
        }
    }

    /// All of them, and whether it is one by itself.
    pub(crate) fn into_parts(self) -> (Vec<Text>, bool) {
        match self {
            Texts::One(text) => (vec![text], true),
            Texts::Many(texts) => (texts, false),
        }
    }
}

/// Tokens of texts.
pub(crate) fn tokens_of(texts: Vec<Text>, model: &Model) -> Result<Vec<Vec<u32>>, Error> {
    texts.into_iter().map(|text| text.tokens(model)).collect()
}

/// Bytes of a `str` (as UTF-8) or of something made of bytes; none of anything else.
pub(crate) fn bytes_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Some(match text.to_cow()? {
            Cow::Borrowed(text) => text.as_bytes().to_vec(),
            Cow::Owned(text) => text.into_bytes(),
        }));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    if let Ok(bytes) = object.cast::<PyByteArray>() {
        return Ok(Some(bytes.to_vec()));
    }
    Ok(None)
}

/// As [`bytes_of`], where there is nothing else that it may be.
pub(crate) fn bytes(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u8>> {
    match bytes_of(object)? {
        Some(bytes) => Ok(bytes),
        None => {
            let found = object.get_type().name()?;
            Err(PyTypeError::new_err(format!("{what}: expected str or bytes, found {found}")))
        }
    }
}

/// Token ids of a list, a tuple, a numpy array …
pub(crate) fn ids(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<u32>> {
    ids_in(&list(object, what)?, what)
}

fn ids_in(objects: &[Bound<'_, PyAny>], what: &str) -> PyResult<Vec<u32>> {
    let id = |(i, object): (usize, &Bound<'_, PyAny>)| {
        object.extract::<u32>().map_err(|_| {
            let found = object.repr().map_or_else(|_| "something else".into(), |repr| repr.to_string());
            wrong(&format!("{what}[{i}]"), "a token id (an int from 0 on)", found)
        })
    };
    objects.iter().enumerate().map(id).collect()
}

/// What is in something that can be gone through, but for a dict, whose keys nobody means.
fn list<'py>(object: &Bound<'py, PyAny>, what: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = object.cast::<PyList>() {
        return Ok(list.iter().collect());
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        return Ok(tuple.iter().collect());
    }
    // A numpy array's or a series' own way is faster, and gives Python's numbers.
    if let Ok(list) = object.call_method0(intern!(object.py(), "tolist")) {
        return match list.cast_into::<PyList>() {
            Ok(list) => Ok(list.iter().collect()),
            Err(_) => {
                Err(InputError::new_err(format!("{what}: expected at least one dimension, found none")))
            }
        };
    }
    let items = match object.cast::<pyo3::types::PyDict>() {
        Ok(_) => None,
        Err(_) => object.try_iter().ok(),
    };
    let Some(items) = items else {
        let found = object.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "{what}: expected str, bytes, token ids, or a list of them, found {found}"
        )));
    };
    items.collect()
}

/// Whether it is Python's or numpy's int. An array has `__index__` too, but mostly no index.
fn is_int(object: &Bound<'_, PyAny>) -> bool {
    object.cast::<PyInt>().is_ok() || object.extract::<i64>().is_ok()
}
