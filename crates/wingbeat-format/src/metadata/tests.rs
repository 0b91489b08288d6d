//! The ordered map, its typed getters, and string arrays.

use super::*;
use crate::bytes::Bytes;

#[test]
fn order_survives_insert_and_remove() {
    let mut metadata = Metadata::new();
    for (i, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert_eq!(metadata.insert(key, i as u32), None);
    }
    assert_eq!(metadata.insert("b", 9u64), Some(Value::U32(1)));
    assert_eq!(metadata.remove("a"), Some(Value::U32(0)));
    assert_eq!(metadata.remove("a"), None);
    let keys: Vec<_> = metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b", "c", "d"]);
    assert_eq!(metadata.u64("b"), Some(9));
    assert_eq!(metadata.u64("d"), Some(3));
    assert_eq!(metadata.len(), 3);
    assert_eq!(
        metadata,
        [("b", Value::U64(9)), ("c", 2u32.into()), ("d", 3u32.into())].into_iter().collect()
    );
}

#[test]
fn getters_convert_what_fits_and_nothing_else() {
    let metadata: Metadata = [
        ("u8", Value::U8(7)),
        ("i8", Value::I8(-1)),
        ("big", Value::U64(u64::MAX)),
        ("f64", Value::F64(0.5)),
        ("f32", Value::F32(1e-5)),
        ("bool", Value::Bool(true)),
        ("text", Value::from("hé")),
        ("broken", Value::String(vec![0xff])),
        ("list", Value::from(["x", ""].into_iter().collect::<StringArray>())),
    ]
    .into_iter()
    .collect();
    assert_eq!((metadata.u64("u8"), metadata.i64("u8")), (Some(7), Some(7)));
    assert_eq!((metadata.u64("i8"), metadata.i64("i8")), (None, Some(-1)));
    assert_eq!((metadata.u64("big"), metadata.i64("big")), (Some(u64::MAX), None));
    assert_eq!((metadata.f32("f64"), metadata.f32("f32"), metadata.f32("u8")), (Some(0.5), Some(1e-5), None));
    assert_eq!((metadata.bool("bool"), metadata.bool("u8")), (Some(true), None));
    assert_eq!(
        (metadata.str("text"), metadata.str("broken"), metadata.str("list")),
        (Some("hé"), None, None)
    );
    assert_eq!(metadata.bytes("broken"), Some(&[0xff][..]));
    assert_eq!(metadata.strings("list").map(StringArray::len), Some(2));
    assert_eq!(metadata.array("list").map(Array::len), Some(2));
    assert!(metadata.strings("text").is_none() && metadata.get("absent").is_none());
}

#[test]
fn string_arrays_walk_in_order() {
    let words: [&[u8]; 4] = [b"one", b"", &[0xff, 0], b"four"];
    let array: StringArray = words.into_iter().collect();
    assert_eq!(array.len(), 4);
    assert_eq!(array.iter().len(), 4);
    assert!(array.iter().eq(words));
    assert_eq!(format!("{:?}", ["a", "b"].iter().collect::<StringArray>()), r#"2 strings ["a", "b"]"#);

    // The same bytes parsed: all, fewer, too many, and with the end cut off.
    let mut data = array.encoded().to_vec();
    data.extend(b"rest");
    let n_encoded = array.encoded().len();
    let bytes = Bytes::from_vec(data);
    assert_eq!(StringArray::parse(&bytes, 4).as_ref(), Some(&array));
    assert!(StringArray::parse(&bytes, 2).is_some_and(|two| two.iter().eq(words.into_iter().take(2))));
    assert!(StringArray::parse(&bytes, 5).is_none());
    assert!(StringArray::parse(&bytes.slice(0..n_encoded - 1).unwrap(), 4).is_none());
    assert!(
        StringArray::parse(&bytes, 0).is_some_and(|none| none.is_empty() && none.iter().next().is_none())
    );
}

#[test]
fn byte_slices_stay_inside() {
    let bytes = Bytes::from_static(b"0123456789");
    let middle = bytes.slice(2..8).unwrap();
    assert_eq!(&*middle, b"234567");
    assert_eq!(&*middle.slice(1..2).unwrap(), b"3");
    assert!(middle.slice(0..7).is_none() && middle.slice(7..7).is_none());
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tried")]
    let reversed = 3..2;
    assert!(middle.slice(reversed).is_none() && middle.slice(usize::MAX..usize::MAX).is_none());
    assert_eq!(middle, Bytes::from_vec(b"234567".to_vec()));
    assert_eq!(format!("{middle:?}"), "Bytes(6 bytes, static, at 2)");
}
