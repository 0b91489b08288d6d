use super::*;

/// What is chosen among files of a gigabyte each.
fn chosen(files: &[&str], choice: Option<&str>) -> Result<String, String> {
    let files: Vec<(&str, Option<u64>)> = files.iter().map(|file| (*file, Some(1_000_000_000))).collect();
    let candidates = candidates(&files);
    choose("user/repo", choice, &candidates).map(|c| c.files.join(" ")).map_err(|error| error.to_string())
}

fn ok(files: &[&str], choice: Option<&str>) -> String {
    chosen(files, choice).unwrap_or_else(|error| panic!("{files:?} {choice:?}: {error}"))
}

const GGUFS: [&str; 6] = [
    "README.md",
    "rwkv7-g1-1.5b-F16.gguf",
    "rwkv7-g1-1.5b-Q4_K_M.gguf",
    "rwkv7-g1-1.5b-Q5_K_M.gguf",
    "rwkv7-g1-1.5b-Q8_0.gguf",
    "rwkv7-g1-1.5b-Q6_K.gguf",
];

#[test]
fn types_are_chosen_by_name_in_any_case() {
    assert_eq!(ok(&GGUFS, Some("q4_k_m")), GGUFS[2]);
    assert_eq!(ok(&GGUFS, Some("q4_k")), GGUFS[2]);
    assert_eq!(ok(&GGUFS, Some("Q8_0")), GGUFS[4]);
    assert_eq!(ok(&GGUFS, Some("fp16")), GGUFS[1]);
    assert_eq!(ok(&["a_q8_0.gguf", "a_q4_0.gguf"], Some("q4_0")), "a_q4_0.gguf");
    // A type is not a part of another.
    let error = chosen(&GGUFS, Some("q4_0")).expect_err("there is none");
    assert!(error.contains("q4_0") && error.contains("rwkv7-g1-1.5b-Q4_K_M.gguf (1.0 GB)"), "{error}");
}

#[test]
fn without_a_choice_the_best_type_of_the_one_model_is_taken() {
    assert_eq!(ok(&GGUFS, None), GGUFS[4]);
    assert_eq!(ok(&["x-Q4_K_M.gguf", "x-Q6_K.gguf", "x-F16.gguf"], None), "x-Q6_K.gguf");
    assert_eq!(ok(&["model.safetensors", "x.Q4_0.gguf"], None), "x.Q4_0.gguf");
    assert_eq!(ok(&["x.pth", "x.st"], None), "x.st");
    assert_eq!(ok(&["training_args.bin", "adapter_model.safetensors", "x.pth"], None), "x.pth");
}

#[test]
fn different_models_are_not_guessed_between() {
    let files = ["rwkv7-g1-0.1b-ctx4096.pth", "rwkv7-g1-0.4b-ctx4096.pth", "old/rwkv7-g1-0.4b.pth"];
    let error = chosen(&files, None).expect_err("there are several");
    assert!(files.iter().all(|file| error.contains(file)), "{error}");
    assert!(error.contains("user/repo:TYPE"), "{error}");
    assert_eq!(ok(&files, Some("0.1b")), files[0]);
    assert_eq!(ok(&files, Some("RWKV7-g1-0.4b-CTX4096.pth")), files[1]);
    assert!(chosen(&files, Some("0.4b")).is_err());
    assert!(chosen(&["a/model.safetensors", "b/model.safetensors"], None).is_err());
}

#[test]
fn a_hugging_face_model_comes_with_what_is_beside_it() {
    let whole = ["model.safetensors", "config.json", "tokenizer.json", "README.md", "sub/config.json"];
    assert_eq!(ok(&whole, None), "model.safetensors config.json tokenizer.json");
    let shards = [
        "model-00002-of-00002.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "config.json",
    ];
    let all = [shards[2], shards[1], shards[0], shards[3]].join(" ");
    assert_eq!(ok(&shards, None), all);
    let torch = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "x.index.json"];
    assert_eq!(ok(&torch, None), [torch[1], torch[0]].join(" "));
    assert_eq!(ok(&[&torch[..], &shards].concat(), None), all);
    // A shard that is missing is no model.
    assert!(candidates(&shards[1..].iter().map(|file| (*file, None)).collect::<Vec<_>>()).is_empty());
    // Nor is a part of a split file.
    assert!(candidates(&[("x-00001-of-00002.gguf", None)]).is_empty());
}

#[test]
fn odd_names_are_passed_over() {
    for file in [
        ".gguf",
        "gguf",
        "",
        ".",
        "x.",
        "é.safetensors",
        "-00001-of-00001.safetensors",
        "a.safetensors.index.json",
    ] {
        // Whatever it says, it says it without a panic.
        let _ = candidates(&[(file, Some(u64::MAX)), ("b.gguf", Some(u64::MAX))]);
    }
    assert!(candidates(&[("a.txt", None), ("b", None)]).is_empty());
}
