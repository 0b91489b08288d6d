//! The arithmetic of the figures; what the command prints is tested with the binary.

use super::{
    bounds::{Costs, Demand, Rates},
    measure::Spread,
    report::{Report, Unit},
};

#[test]
fn a_spread_is_of_all_figures() {
    let spread = Spread::of(vec![4.0, 1.0, 3.0]);
    assert_eq!((spread.median, spread.min, spread.max, spread.runs), (3.0, 1.0, 4.0, 3));
    assert!((spread.mean - 8.0 / 3.0).abs() < 1e-12);
    assert!((spread.deviation - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(Spread::of(vec![1.0, 2.0, 4.0, 8.0]).median, 3.0);
    let one = Spread::of(vec![5.0]);
    assert_eq!((one.median, one.min, one.max, one.deviation), (5.0, 5.0, 5.0, 0.0));
}

/// Numbers that tell which of them went where.
const COSTS: Costs = Costs {
    body_bytes: 1e6,
    head_bytes: 2e5,
    row_bytes: 100.0,
    state_bytes: 1e4,
    body_parameters: 5e5,
    head_parameters: 1e5,
};

#[test]
fn a_demand_costs_what_it_cannot_do_without() {
    let cases = [
        // A token; a prompt; eight sequences; a document whose logits nobody wants.
        (Demand { tokens: 1, sequences: 1, logits: 1 }, 1e6 + 2e5 + 100.0 + 2e4, 1.2e6),
        (Demand { tokens: 512, sequences: 1, logits: 1 }, 1e6 + 2e5 + 51200.0 + 2e4, 512e6 + 2e5),
        (Demand { tokens: 8, sequences: 8, logits: 8 }, 1e6 + 2e5 + 800.0 + 16e4, 9.6e6),
        (Demand { tokens: 512, sequences: 1, logits: 0 }, 1e6 + 51200.0 + 2e4, 512e6),
    ];
    for (demand, bytes, operations) in cases {
        assert_eq!((COSTS.bytes(demand), COSTS.operations(demand)), (bytes, operations), "{demand:?}");
        // Whichever takes longer.
        let by_bytes = COSTS.least_seconds(demand, Rates { bytes: 1e6, operations: 1e15 });
        let by_operations = COSTS.least_seconds(demand, Rates { bytes: 1e15, operations: 1e6 });
        assert!((by_bytes - bytes / 1e6).abs() < 1e-9 && (by_operations - operations / 1e6).abs() < 1e-6);
    }
}

#[test]
fn figures_are_held_against_their_bounds() {
    let demand = Demand { tokens: 512, sequences: 1, logits: 1 };
    let mut report = Report::default();
    report.push_run("a_tok_s", Unit::TokensPerSecond, Spread::of(vec![1024.0]), demand);
    report.push_run("b_ms", Unit::Milliseconds, Spread::of(vec![500.0]), demand);
    report.push("c_ms", Unit::Milliseconds, Spread::of(vec![1.0]));
    report.push_one("d", Unit::Fraction, None);
    assert!(!report.table().contains("of bound") && report.json().get("a_tok_s_bound_fraction").is_none());
    // Both took half a second.
    report.hold_against(&|demand| demand.tokens as f64 / 2048.0);
    let json = report.json();
    let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    let of_run =
        |key: &str| ["", "_min", "_max", "_runs", "_bound_fraction"].map(|end| format!("{key}{end}"));
    let mut expected = [of_run("a_tok_s"), of_run("b_ms")].concat();
    expected.extend(["c_ms", "c_ms_min", "c_ms_max", "c_ms_runs", "d"].map(str::to_owned));
    assert_eq!(keys, expected);
    assert_eq!((&json["a_tok_s_bound_fraction"], &json["b_ms_bound_fraction"]), (&0.5.into(), &0.5.into()));
    let (table, csv) = (report.table(), report.csv());
    let ends: Vec<bool> = table.lines().map(|line| line.ends_with("0.500")).collect();
    assert_eq!(ends[ends.len() - 4..], [true, true, false, false], "{table}");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with(",runs,bound_fraction") && lines[1].ends_with(",1,0.5"), "{csv}");
    assert!(lines[3].ends_with(",1,") && lines[4].ends_with(",d,,,,,,"), "{csv}");
}
