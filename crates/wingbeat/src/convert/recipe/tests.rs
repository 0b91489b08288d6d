//! The choice under a budget, against all choices there are.

use super::*;

fn choice(dtype: DType, n_bytes: u64, cost: f64) -> Choice {
    Choice { dtype, n_bytes, cost }
}

#[test]
fn a_hull_has_only_bargains() {
    let of = |choices: &[(u64, f64)]| {
        let choices: Vec<Choice> = choices.iter().map(|&(n, cost)| choice(DType::Q8_0, n, cost)).collect();
        hull(&choices).iter().map(|c| (c.n_bytes, c.cost)).collect::<Vec<_>>()
    };
    // One that costs more for more bytes, one above the line between its neighbours, two of one length.
    assert_eq!(of(&[(10, 8.0), (20, 9.0), (30, 1.0)]), [(10, 8.0), (30, 1.0)]);
    assert_eq!(of(&[(10, 8.0), (20, 7.0), (30, 1.0)]), [(10, 8.0), (30, 1.0)]);
    assert_eq!(of(&[(10, 8.0), (10, 6.0), (30, 1.0)]), [(10, 6.0), (30, 1.0)]);
    assert_eq!(of(&[(10, 8.0), (20, 3.0), (30, 1.0)]), [(10, 8.0), (20, 3.0), (30, 1.0)]);
    assert_eq!(of(&[]), []);
}

#[test]
fn what_is_chosen_fits_and_nothing_more_would() {
    let list = |sensitivity: f64| {
        vec![
            choice(DType::Q2K, 26, 0.07 * sensitivity),
            choice(DType::Q3K, 34, 0.02 * sensitivity),
            choice(DType::Q4K, 45, 0.005 * sensitivity),
            choice(DType::Q6K, 66, 0.0003 * sensitivity),
        ]
    };
    let choices = vec![list(1.0), list(10.0), list(0.1)];
    for budget in 0..260 {
        match choose(&choices, budget) {
            Err(smallest) => assert!(budget < 78 && smallest == 78, "{budget}: {smallest}"),
            Ok(types) => {
                let at = |i: usize| choices[i].iter().position(|c| c.dtype == types[i]).unwrap();
                let total: u64 = (0..3).map(|i| choices[i][at(i)].n_bytes).sum();
                assert!(total <= budget, "{budget}: {total}");
                for i in 0..3 {
                    if let Some(next) = choices[i].get(at(i) + 1) {
                        assert!(total - choices[i][at(i)].n_bytes + next.n_bytes > budget, "{budget}: {i}");
                    }
                }
                // What an error costs more in is never coarser.
                assert!(at(1) >= at(0) || budget < 90, "{budget}: {types:?}");
            }
        }
    }
    assert_eq!(choose(&choices, 1000), Ok(vec![DType::Q6K; 3]));
}
