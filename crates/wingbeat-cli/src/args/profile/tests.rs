//! The table of a profile.

use super::table;
use wingbeat::KernelTime;

#[test]
fn a_profile_adds_up() {
    let time = |name, runs, seconds, bytes, flops| {
        let mut time = KernelTime::default();
        (time.name, time.runs, time.seconds, time.bytes, time.flops) = (name, runs, seconds, bytes, flops);
        time
    };
    let times =
        [time("linear_rows", 4, 0.003, 6_000_000_000, 3_000_000_000), time("wkv7", 2, 0.001, 100_000_000, 0)];
    let with = table(&times, Some(4e12));
    let lines: Vec<Vec<&str>> = with.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[1],
        ["linear_rows", "4", "3.000", "75.0", "%", "750.00", "2000.00", "50.0", "%", "1.000"]
    );
    assert_eq!(lines[3][..5], ["all", "6", "4.000", "100.0", "%"]);
    assert!(with.contains("reads 4000.0 GB/s"), "{with}");
    let without = table(&times, None);
    assert!(without.lines().count() == 4 && without.contains(" - "), "{without}");
    // Nothing ran: nothing is divided by.
    assert!(!table(&[], None).contains("NaN"));
}
