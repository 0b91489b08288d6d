use super::*;

fn report(fields: Vec<Field>) -> Report {
    let document = Document { path: None, n_tokens: 0, seconds: 0.0 };
    Report { model: "m".to_owned(), document, state_tokens: 7, answer_seconds: 1.0, seed: 0, fields }
}

fn answer(field: &str, text: &str) -> Field {
    let (field, text) = (field.to_owned(), text.to_owned());
    Field::Answer { field, text, n_tokens: 3, stop_reason: "stop_text", stop: Some("\n".to_owned()) }
}

fn choice(field: &str, scores: &[(&str, f64)]) -> Field {
    let score = |(choice, nats): &(&str, f64)| Score {
        choice: (*choice).to_owned(),
        text: format!(" {choice}"),
        nats: *nats,
        n_tokens: 1,
    };
    Field::Choice { field: field.to_owned(), scores: scores.iter().map(score).collect() }
}

#[test]
fn answers_stand_beside_their_fields() {
    let long = "A field that is far too long to stand beside its answer:";
    let found = report(vec![
        answer("Sender:", " Mr. A\n B"),
        answer("日付:", " x"),
        answer(long, ""),
        answer("N", "\u{7}"),
    ]);
    let expected = format!("Sender:  Mr. A B\n日付:    x\n{long}\n\nN        \u{fffd}\n");
    assert_eq!(found.table(), expected);
    let found = report(vec![answer("a,b", " say \"x\"\n"), answer("c", "d")]);
    assert_eq!(found.csv(), "field,answer\n\"a,b\",\"say \"\"x\"\"\"\nc,d\n");
    let json = found.json();
    assert_eq!(
        (&json["fields"][0]["answer"], &json["fields"][0]["text"]),
        (&json!("say \"x\""), &json!(" say \"x\"\n"))
    );
    assert_eq!(found.summary(), "state: 7 tokens; 2 fields: 1.00 s");
}

#[test]
fn the_likeliest_choice_has_a_star() {
    let found = report(vec![choice("Well?", &[("no", -2000.0 - 3f64.ln()), ("yes", -2000.0)])]);
    assert_eq!(
        found.table(),
        "Well?    no    25.0 %  -2001.099 nats\n       * yes   75.0 %  -2000.000 nats\n"
    );
    let json = found.json();
    assert_eq!(json["fields"][0]["best"], "yes");
    assert!((json["fields"][0]["choices"][1]["share"].as_f64().unwrap() - 0.75).abs() < 1e-9);
    let csv = found.csv();
    assert!(csv.starts_with("field,choice,share,nats,tokens,best\nWell?,no,0.2"), "{csv}");
    assert!(csv.ends_with(",-2000,1,true\n"), "{csv}");
    // Of equals the first; nothing is divided by nothing.
    assert_eq!(report(vec![choice("?", &[("a", -1.0), ("b", -1.0)])]).json()["fields"][0]["best"], "a");
    assert!(shares(&[]).is_empty());
}
