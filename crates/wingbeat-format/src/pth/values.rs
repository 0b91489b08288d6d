//! What the pickle of a checkpoint builds: plain values, containers, storages, and tensors as views of them.
//!
//! Containers are numbered and values refer to them by number, so that a value is small and copying it costs
//! nothing, however often a file does so. Building them is `machine.rs`, understanding them `read.rs`.

use crate::quant::DType;

/// A value: small, since whatever is large lies in [`Pickle::objects`] or in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Something that no tensor has in it, by its name for messages.
    Other(&'static str),
    Global(Global),
    /// A place in [`Pickle::objects`].
    Object(usize),
}

/// A container or a tensor.
#[derive(Debug)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(View<'a>),
}

/// A run of values in an entry of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) element: &'static Element,
    /// The name of its entry below `data/`.
    pub(super) key: &'a str,
    /// How many values there are, as the file claims.
    pub(super) n: i64,
}

/// A tensor: the part of a storage that it is. Only its kinds have been checked, not its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    /// Values before its first one.
    pub(super) offset: i64,
    /// The tuples of dimensions and strides, places in [`Pickle::objects`].
    pub(super) shape: usize,
    pub(super) strides: usize,
}

/// What a storage holds.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) module: &'static str,
    /// The name of torch's class, which says the type.
    pub(super) class: &'static str,
    /// The type, if it is one that is read.
    pub(super) dtype: Option<DType>,
}

/// The globals that checkpoints are made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(&'static Element),
}

const FUNCTIONS: [(&str, &str, Global); 3] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
];

/// Types without a [`DType`] are known so that a tensor of one can be refused by its own name.
static ELEMENTS: [Element; 16] = [
    Element { module: "torch", class: "FloatStorage", dtype: Some(DType::F32) },
    Element { module: "torch", class: "HalfStorage", dtype: Some(DType::F16) },
    Element { module: "torch", class: "BFloat16Storage", dtype: Some(DType::BF16) },
    Element { module: "torch", class: "DoubleStorage", dtype: Some(DType::F64) },
    Element { module: "torch", class: "LongStorage", dtype: Some(DType::I64) },
    Element { module: "torch", class: "IntStorage", dtype: Some(DType::I32) },
    Element { module: "torch", class: "ShortStorage", dtype: None },
    Element { module: "torch", class: "CharStorage", dtype: None },
    Element { module: "torch", class: "ByteStorage", dtype: None },
    Element { module: "torch", class: "BoolStorage", dtype: None },
    Element { module: "torch", class: "ComplexFloatStorage", dtype: None },
    Element { module: "torch", class: "ComplexDoubleStorage", dtype: None },
    Element { module: "torch", class: "UntypedStorage", dtype: None },
    Element { module: "torch.storage", class: "UntypedStorage", dtype: None },
    Element { module: "torch.storage", class: "TypedStorage", dtype: None },
    Element { module: "torch.storage", class: "_TypedStorage", dtype: None },
];

impl Element {
    /// The storage of a type, if torch has one.
    pub(super) fn of(dtype: DType) -> Option<&'static Element> {
        ELEMENTS.iter().find(|element| element.dtype == Some(dtype))
    }
}

impl Global {
    /// The global of that name, if it is one of these.
    pub(super) fn find(module: &str, name: &str) -> Option<Global> {
        let function = FUNCTIONS.iter().find(|(m, n, _)| *m == module && *n == name);
        let storage = || ELEMENTS.iter().find(|e| e.module == module && e.class == name);
        function.map(|&(_, _, global)| global).or_else(|| storage().map(Global::Storage))
    }
}

/// What a pickle has built.
pub(super) struct Pickle<'a> {
    pub(super) objects: Vec<Object<'a>>,
    /// What the whole file is.
    pub(super) root: Value<'a>,
}

impl<'a> Pickle<'a> {
    /// The entries of a dict.
    pub(super) fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.object(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// A tensor.
    pub(super) fn tensor(&self, value: Value<'a>) -> Option<&View<'a>> {
        match self.object(value)? {
            Object::Tensor(view) => Some(view),
            _ => None,
        }
    }

    /// The integers of the tuple at a place that a [`View`] names.
    pub(super) fn integers(&self, tuple: usize) -> Option<impl ExactSizeIterator<Item = i64>> {
        integers(self.objects.get(tuple)?)
    }

    /// What sort of thing a value is, for messages.
    pub(super) fn kind(&self, value: Value<'a>) -> &'static str {
        kind(&self.objects, value)
    }

    fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(place) => self.objects.get(place),
            _ => None,
        }
    }
}

/// What sort of thing a value is, for messages.
pub(super) fn kind(objects: &[Object], value: Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "a truth value",
        Value::Int(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::Other(name) => name,
        Value::Global(_) => "a function or class",
        Value::Object(place) => match objects.get(place) {
            Some(Object::Tuple(_)) => "a tuple",
            Some(Object::List(_)) => "a list",
            Some(Object::Dict(_)) => "a dict",
            Some(Object::Storage(_)) => "a storage",
            Some(Object::Tensor(_)) => "a tensor",
            None => "nothing",
        },
    }
}

/// torch's own limit. Without one, a long tuple used again and again would cost time.
const MAX_DIMS: usize = 64;

/// The numbers of a tuple of dimensions, if it has nothing else in it.
pub(super) fn integers(tuple: &Object) -> Option<impl ExactSizeIterator<Item = i64>> {
    let Object::Tuple(values) = tuple else { return None };
    if values.len() > MAX_DIMS {
        return None;
    }
    let int = |value: &Value| match *value {
        Value::Int(n) => Some(n),
        _ => None,
    };
    values.iter().all(|value| int(value).is_some()).then(|| values.iter().map(move |v| int(v).unwrap_or(0)))
}
