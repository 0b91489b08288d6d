//! A machine for the pickles of checkpoints: it builds dicts, lists, tuples and descriptions of tensors, and
//! can do nothing else.
//!
//! Of pickle's instructions (Python's `pickletools`, protocols 2 to 5) it has those that `torch.save` writes
//! for such values. A global is looked up in a table of names and is nothing but its row there: calling one
//! means building the tensor, parameter or dict that it stands for, and a name that is not in the table ends
//! the reading. Nothing here recurses; the number of instructions is limited, and with it the memory.

use super::directory::item;
use super::values::{Global, Object, Pickle, Storage, Value, View, integers, kind};
use crate::error::FormatError;

/// A checkpoint of 13 billion parameters needs a few hundred kilobytes.
const MAX_PICKLE_BYTES: usize = 16 << 20;
/// Each instruction makes one value at most. Such a checkpoint has a hundred thousand.
const MAX_INSTRUCTIONS: usize = 1 << 20;
/// torch.save gathers a thousand entries of a dict at a time.
const MAX_STACK: usize = 1 << 16;
/// No module or function of torch has a longer name.
const MAX_NAME_BYTES: usize = 256;

/// Runs the pickle in `bytes`, which are the entry `entry` of `file`.
pub(super) fn run<'a>(file: &'a str, entry: &'a str, bytes: &'a [u8]) -> Result<Pickle<'a>, FormatError> {
    if bytes.len() > MAX_PICKLE_BYTES {
        let expected = format!("at most {MAX_PICKLE_BYTES} bytes");
        return Err(FormatError::malformed(file, item(entry), expected, bytes.len()));
    }
    let machine = Machine {
        file,
        entry,
        bytes,
        at: 0,
        start: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        objects: Vec::new(),
    };
    machine.run()
}

/// The instruction under way, for messages.
struct Spot<'a> {
    file: &'a str,
    entry: &'a str,
    start: usize,
}

impl Spot<'_> {
    fn fail(&self, expected: impl Into<String>, found: impl std::fmt::Display) -> FormatError {
        let item = format!("{}, byte {}", item(self.entry), self.start);
        FormatError::malformed(self.file, item, expected, found)
    }
}

/// A pickle being run.
struct Machine<'a> {
    file: &'a str,
    entry: &'a str,
    bytes: &'a [u8],
    /// Where the next byte is read.
    at: usize,
    /// Where the instruction under way began.
    start: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack, the last of which instructions like `TUPLE` take values down to.
    marks: Vec<usize>,
    /// Values put aside, by the numbers that the pickle gives them: 0, 1, 2 … in all that Python writes.
    memo: Vec<Option<Value<'a>>>,
    objects: Vec<Object<'a>>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, FormatError> {
        for _ in 0..MAX_INSTRUCTIONS {
            self.start = self.at;
            let [instruction] = self.take_array()?;
            if instruction == b'.' {
                return self.stop();
            }
            self.step(instruction)?;
            if self.stack.len().max(self.marks.len()) > MAX_STACK {
                return Err(self.fail(format!("a stack of at most {MAX_STACK} values"), "a higher one"));
            }
        }
        Err(self.fail(format!("at most {MAX_INSTRUCTIONS} instructions"), "more"))
    }

    /// `STOP`: the one value left is the result.
    fn stop(mut self) -> Result<Pickle<'a>, FormatError> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.fail("one value at the end", format!("{} more", self.stack.len())));
        }
        if self.at != self.bytes.len() {
            let n = self.bytes.len() - self.at;
            return Err(self.fail("the pickle to end here", format!("{n} bytes more")));
        }
        Ok(Pickle { objects: self.objects, root })
    }

    fn step(&mut self, instruction: u8) -> Result<(), FormatError> {
        match instruction {
            // PROTO, FRAME: nothing to do, frames only help readers of streams.
            0x80 => match self.take_array()? {
                [2..=5] => {}
                [protocol] => return Err(self.fail("pickle protocol 2 to 5", protocol)),
            },
            0x95 => {
                let n_bytes = u64::from_le_bytes(self.take_array()?);
                let n_left = self.bytes.len() - self.at;
                if n_bytes > n_left as u64 {
                    return Err(self.fail(format!("a frame of at most {n_left} bytes"), n_bytes));
                }
            }

            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let n = i32::from_le_bytes(self.take_array()?);
                self.stack.push(Value::Int(n.into()));
            }
            b'K' => {
                let [n] = self.take_array()?;
                self.stack.push(Value::Int(n.into()));
            }
            b'M' => {
                let n = u16::from_le_bytes(self.take_array()?);
                self.stack.push(Value::Int(n.into()));
            }
            0x8a => {
                let [n_bytes] = self.take_array()?;
                self.long(n_bytes.into())?;
            }
            0x8b => {
                let n_bytes = u32::from_le_bytes(self.take_array()?);
                self.long(n_bytes.into())?;
            }
            b'G' => {
                let x = f64::from_be_bytes(self.take_array()?);
                self.stack.push(Value::Float(x));
            }

            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; bytes: BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'X' => {
                let n = u32::from_le_bytes(self.take_array()?);
                self.text(n.into())?;
            }
            0x8c => {
                let [n] = self.take_array()?;
                self.text(n.into())?;
            }
            0x8d => {
                let n = u64::from_le_bytes(self.take_array()?);
                self.text(n)?;
            }
            b'B' => {
                let n = u32::from_le_bytes(self.take_array()?);
                self.raw_bytes(n.into())?;
            }
            b'C' => {
                let [n] = self.take_array()?;
                self.raw_bytes(n.into())?;
            }
            0x8e | 0x96 => {
                let n = u64::from_le_bytes(self.take_array()?);
                self.raw_bytes(n)?;
            }

            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }

            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE, EMPTY_LIST, LIST, EMPTY_DICT, DICT
            b')' => self.push_object(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let n = usize::from(instruction - 0x84);
                let start = self.floor_of(n)?;
                let values = self.stack.split_off(start);
                self.push_object(Object::Tuple(values));
            }
            b't' => {
                let values = self.pop_mark()?;
                self.push_object(Object::Tuple(values));
            }
            b']' => self.push_object(Object::List(Vec::new())),
            b'l' => {
                let values = self.pop_mark()?;
                self.push_object(Object::List(values));
            }
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b'd' => {
                let values = self.pop_mark()?;
                let pairs = self.pairs(values)?;
                self.push_object(Object::Dict(pairs));
            }

            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => {
                let value = self.pop()?;
                self.list()?.push(value);
            }
            b'e' => {
                let values = self.pop_mark()?;
                self.list()?.extend(values);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let values = self.pop_mark()?;
                let pairs = self.pairs(values)?;
                self.dict()?.extend(pairs);
            }

            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let [number] = self.take_array()?;
                self.put(number.into())?;
            }
            b'r' => {
                let number = u32::from_le_bytes(self.take_array()?);
                self.put(number)?;
            }
            0x94 => {
                // Fits: there are fewer instructions than 2³².
                let place = self.memo.len() as u32;
                self.put(place)?;
            }
            b'h' => {
                let [number] = self.take_array()?;
                self.get(number.into())?;
            }
            b'j' => {
                let number = u32::from_le_bytes(self.take_array()?);
                self.get(number)?;
            }

            // GLOBAL, STACK_GLOBAL, INST
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(self.fail("the names of a module and of a thing in it", "something else"));
                };
                self.global(module, name)?;
            }
            b'i' => {
                // Of protocol 0: makes an object of a class. No such object is needed, whatever the class.
                let (module, name) = (self.line()?, self.line()?);
                return Err(self.refused(module, name));
            }

            // BINPERSID, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            0x81 | 0x92 => return Err(self.fail("tensors, storages and dicts", "an object of another class")),
            b'b' => {
                // The attributes of a dict: torch keeps versions of modules there.
                self.pop()?;
                self.dict()?;
            }
            other => {
                let found = format!("instruction 0x{other:02x}");
                return Err(self.fail("an instruction that torch.save uses", found));
            }
        }
        Ok(())
    }

    fn spot(&self) -> Spot<'a> {
        Spot { file: self.file, entry: self.entry, start: self.start }
    }

    fn fail(&self, expected: impl Into<String>, found: impl std::fmt::Display) -> FormatError {
        self.spot().fail(expected, found)
    }

    fn refused(&self, module: &str, name: &str) -> FormatError {
        FormatError::Refused {
            file: self.file.to_owned(),
            item: item(self.entry),
            // Anything may be in there, line ends too.
            name: format!("{module}.{name}").escape_debug().to_string(),
        }
    }

    // Reading the pickle's bytes.

    fn take(&mut self, n_bytes: u64) -> Result<&'a [u8], FormatError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match usize::try_from(n_bytes).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.fail(format!("{n_bytes} bytes"), format!("{} to the end", rest.len()))),
        }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// A name up to the end of the line.
    fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let line = rest.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_NAME_BYTES);
        let line =
            line.ok_or_else(|| self.fail(format!("a name of at most {MAX_NAME_BYTES} bytes"), "no such"))?;
        self.take(line.len() as u64 + 1)?;
        Ok(line)
    }

    fn text(&mut self, n_bytes: u64) -> Result<(), FormatError> {
        let text = std::str::from_utf8(self.take(n_bytes)?).map_err(|_| self.fail("UTF-8", "other bytes"))?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn raw_bytes(&mut self, n_bytes: u64) -> Result<(), FormatError> {
        self.take(n_bytes)?;
        self.stack.push(Value::Other("bytes"));
        Ok(())
    }

    /// A little-endian integer in two's complement, of any length.
    fn long(&mut self, n_bytes: u64) -> Result<(), FormatError> {
        let bytes = self.take(n_bytes)?;
        let sign = bytes.last().map_or(0, |&last| if last < 0x80 { 0 } else { 0xff });
        let mut wide = [sign; 8];
        self.stack.push(match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            None => Value::Other("an integer of more than 64 bits"),
        });
        Ok(())
    }

    // The stack.

    /// How far down values may be taken: not below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// Where the top `n` values begin.
    fn floor_of(&self, n: usize) -> Result<usize, FormatError> {
        let start = self.stack.len().checked_sub(n).filter(|&start| start >= self.floor());
        start.ok_or_else(|| self.fail(format!("{n} values on the stack"), "fewer"))
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        self.floor_of(1)?;
        self.stack.pop().ok_or_else(|| self.fail("a value on the stack", "none"))
    }

    fn top(&self) -> Result<Value<'a>, FormatError> {
        let place = self.floor_of(1)?;
        self.stack.get(place).copied().ok_or_else(|| self.fail("a value on the stack", "none"))
    }

    /// All values above the last mark, which goes too.
    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.fail("a mark on the stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, values: Vec<Value<'a>>) -> Result<Vec<(Value<'a>, Value<'a>)>, FormatError> {
        match values.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.fail("keys and values in pairs", "a key without a value")),
        }
    }

    fn push_object(&mut self, object: Object<'a>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    // Containers on top of the stack.

    fn list(&mut self) -> Result<&mut Vec<Value<'a>>, FormatError> {
        let (top, spot) = (self.top()?, self.spot());
        let found = kind(&self.objects, top);
        match self.objects.get_mut(place(top)) {
            Some(Object::List(values)) => Ok(values),
            _ => Err(spot.fail("a list", found)),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Value<'a>, Value<'a>)>, FormatError> {
        let (top, spot) = (self.top()?, self.spot());
        let found = kind(&self.objects, top);
        match self.objects.get_mut(place(top)) {
            Some(Object::Dict(entries)) => Ok(entries),
            _ => Err(spot.fail("a dict", found)),
        }
    }

    fn put(&mut self, number: u32) -> Result<(), FormatError> {
        let top = self.top()?;
        let number = number as usize;
        if number >= MAX_INSTRUCTIONS {
            return Err(
                self.fail(format!("at most {MAX_INSTRUCTIONS} values put aside"), format!("one as {number}"))
            );
        }
        if number >= self.memo.len() {
            self.memo.resize(number + 1, None);
        }
        self.memo[number] = Some(top);
        Ok(())
    }

    fn get(&mut self, number: u32) -> Result<(), FormatError> {
        let value = self.memo.get(number as usize).copied().flatten();
        let value =
            value.ok_or_else(|| self.fail("a value that was put aside", format!("none as {number}")))?;
        self.stack.push(value);
        Ok(())
    }

    // Globals and what they build.

    fn global(&mut self, module: &str, name: &str) -> Result<(), FormatError> {
        if module.len().max(name.len()) > MAX_NAME_BYTES {
            return Err(self.fail(format!("a name of at most {MAX_NAME_BYTES} bytes"), "a longer one"));
        }
        self.stack.push(Value::Global(Global::find(module, name).ok_or_else(|| self.refused(module, name))?));
        Ok(())
    }

    /// `BINPERSID`: `("storage", class, key, device, number of values)` is a storage.
    fn storage(&mut self) -> Result<(), FormatError> {
        let id = self.pop()?;
        let storage = match self.tuple(id) {
            Some(
                [
                    Value::Text("storage"),
                    Value::Global(Global::Storage(element)),
                    Value::Text(key),
                    Value::Text(_),
                    Value::Int(n),
                ],
            ) => Storage { element, key, n: *n },
            _ => return Err(self.fail("a storage's class, key, device and length", "something else")),
        };
        self.push_object(Object::Storage(storage));
        Ok(())
    }

    /// `REDUCE`: a function and its arguments, which become what it would return.
    fn reduce(&mut self) -> Result<(), FormatError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else {
            return Err(self.fail("a function", kind(&self.objects, function)));
        };
        let wrong = |expected| Err(self.fail(expected, "other arguments"));
        let object = match (function, self.tuple(arguments)) {
            (Global::OrderedDict, Some([])) => Object::Dict(Vec::new()),
            (Global::OrderedDict, _) => return wrong("collections.OrderedDict without arguments"),
            (
                Global::RebuildTensor,
                Some([storage, offset, shape, strides, _gradient, _hooks, rest @ ..]),
            ) => match self.view(*storage, *offset, *shape, *strides) {
                Some(view) if self.is_plain(rest) => Object::Tensor(view),
                Some(_) => return wrong("no metadata: torch keeps there what changes a tensor's values"),
                None => return wrong("a tensor's storage, offset, shape and strides"),
            },
            (Global::RebuildTensor, _) => return wrong("the arguments of torch._utils._rebuild_tensor_v2"),
            (Global::RebuildParameter, Some([tensor, _, _]))
                if matches!(self.objects.get(place(*tensor)), Some(Object::Tensor(_))) =>
            {
                let tensor = *tensor;
                self.stack.push(tensor);
                return Ok(());
            }
            (Global::RebuildParameter, _) => return wrong("a tensor for torch._utils._rebuild_parameter"),
            (Global::Storage(element), _) => return Err(self.refused(element.module, element.class)),
        };
        self.push_object(object);
        Ok(())
    }

    /// Whether the arguments that may follow a tensor's usual ones leave its values as they are stored.
    fn is_plain(&self, rest: &[Value<'a>]) -> bool {
        match *rest {
            [] | [Value::None] => true,
            [metadata] => {
                matches!(self.objects.get(place(metadata)), Some(Object::Dict(entries)) if entries.is_empty())
            }
            _ => false,
        }
    }

    fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.objects.get(place(value)) {
            Some(Object::Tuple(values)) => Some(values),
            _ => None,
        }
    }

    fn view(
        &self,
        storage: Value<'a>,
        offset: Value<'a>,
        shape: Value<'a>,
        strides: Value<'a>,
    ) -> Option<View<'a>> {
        let (Some(&Object::Storage(storage)), Value::Int(offset)) =
            (self.objects.get(place(storage)), offset)
        else {
            return None;
        };
        let (shape, strides) = (place(shape), place(strides));
        let n_dims = |tuple: usize| Some(integers(self.objects.get(tuple)?)?.len());
        (n_dims(shape)? == n_dims(strides)?).then_some(View { storage, offset, shape, strides })
    }
}

/// Where a value's object is; outside of all objects for the values that are none.
fn place(value: Value) -> usize {
    match value {
        Value::Object(place) => place,
        _ => usize::MAX,
    }
}
