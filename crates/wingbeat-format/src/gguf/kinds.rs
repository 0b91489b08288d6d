//! GGUF's numbers for types: of metadata values, and the names of tensor types that are known but not read.
//!
//! The tensor types that are read have their numbers in the registry of `quant`.

use std::fmt;

use crate::metadata::{Array, Value};

/// The type of a metadata value (`enum gguf_metadata_value_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::F32,
    Kind::Bool,
    Kind::String,
    Kind::Array,
    Kind::U64,
    Kind::I64,
    Kind::F64,
];

impl Kind {
    pub(super) fn from_id(id: u32) -> Option<Kind> {
        KINDS.into_iter().find(|&kind| kind as u32 == id)
    }

    pub(super) fn of_value(value: &Value) -> Kind {
        match value {
            Value::U8(_) => Kind::U8,
            Value::I8(_) => Kind::I8,
            Value::U16(_) => Kind::U16,
            Value::I16(_) => Kind::I16,
            Value::U32(_) => Kind::U32,
            Value::I32(_) => Kind::I32,
            Value::F32(_) => Kind::F32,
            Value::U64(_) => Kind::U64,
            Value::I64(_) => Kind::I64,
            Value::F64(_) => Kind::F64,
            Value::Bool(_) => Kind::Bool,
            Value::String(_) => Kind::String,
            Value::Array(_) => Kind::Array,
        }
    }

    /// The type of an array's elements.
    pub(super) fn of_elements(array: &Array) -> Kind {
        match array {
            Array::U8(_) => Kind::U8,
            Array::I8(_) => Kind::I8,
            Array::U16(_) => Kind::U16,
            Array::I16(_) => Kind::I16,
            Array::U32(_) => Kind::U32,
            Array::I32(_) => Kind::I32,
            Array::F32(_) => Kind::F32,
            Array::U64(_) => Kind::U64,
            Array::I64(_) => Kind::I64,
            Array::F64(_) => Kind::F64,
            Array::Bool(_) => Kind::Bool,
            Array::Strings(_) => Kind::String,
            Array::Nested(_) => Kind::Array,
        }
    }
}

/// A number of `enum ggml_type`, shown with its name where it has one.
pub(super) struct GgmlType(pub(super) u32);

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GgmlType(id) = *self;
        match UNREAD_TYPES.iter().find(|(known, _)| *known == id) {
            Some((_, name)) => write!(f, "{name} (type {id})"),
            None => write!(f, "unknown type {id}"),
        }
    }
}

/// Types that ggml knows and the registry does not, for messages.
const UNREAD_TYPES: [(u32, &str); 25] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (4, "Q4_2"),
    (5, "Q4_3"),
    (40, "NVFP4"),
];
