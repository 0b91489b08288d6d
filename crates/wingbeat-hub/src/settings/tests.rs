use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
    let of = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
    Settings::from_variables(&of)
}

#[test]
fn the_cache_is_found_as_the_hubs_tools_find_it() {
    let cache = |variables: &[(&str, &str)]| settings(variables).expect("settings").cache;
    let home = ("HOME", "/home/me");
    assert_eq!(cache(&[home]), Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
    assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
    assert_eq!(cache(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/there")]), Path::new("/there"));
    assert!(matches!(settings(&[]), Err(HubError::NoCacheFolder)));
    assert_eq!(
        settings(&[home]).expect("settings").repo_folder("a/b"),
        Path::new("/home/me/.cache/huggingface/hub/models--a--b")
    );
}

#[test]
fn tokens_come_from_the_variable_or_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = dir.path().to_str().expect("text");
    assert_eq!(settings(&[("HF_HOME", home)]).expect("settings").token, None);
    fs::write(dir.path().join("token"), "hf_file\n").expect("written");
    let of_file = settings(&[("HF_HOME", home)]).expect("settings");
    assert_eq!(of_file.token.as_deref(), Some("hf_file"));
    assert!(!format!("{of_file:?}").contains("hf_file"));
    let both = settings(&[("HF_HOME", home), ("HF_TOKEN", "hf_variable")]).expect("settings");
    assert_eq!(both.token.as_deref(), Some("hf_variable"));
    assert!(settings(&[("HF_HOME", home), ("HF_TOKEN", "a\r\nHost: b")]).is_err());
}

#[test]
fn addresses_and_switches_are_checked() {
    let home = ("HOME", "/home/me");
    let endpoint = |address| settings(&[home, ("HF_ENDPOINT", address)]).map(|settings| settings.endpoint);
    assert_eq!(endpoint("http://127.0.0.1:80/").expect("an address"), "http://127.0.0.1:80");
    for address in ["ftp://x", "huggingface.co", "https://", "http://a b"] {
        assert!(endpoint(address).is_err(), "{address}");
    }
    for (value, offline) in [("1", true), ("YES", true), ("0", false), ("", false)] {
        assert_eq!(
            settings(&[home, ("HF_HUB_OFFLINE", value)]).expect("settings").offline,
            offline,
            "{value}"
        );
    }
}
