//! `scan` against Theano's definition, written as plain loops over cut and reversed copies.

use elman::ndarray::{Array, array};
use elman_reference::scan::{Initial, Input, Sequence, scan, until};
use proptest::prelude::*;

/// A number in which a mistaken index, order or number of steps shows.
fn mix(values: &[i64]) -> i64 {
    values.iter().fold(17, |sum: i64, v| sum.wrapping_mul(1_000_003).wrapping_add(*v) ^ (sum >> 7))
}

/// Theano's preparation of one sequence: for each tap a copy of the sequence, cut at both ends so that row
/// `t` of it is what step `t` reads, then reversed if the scan goes backwards.
fn cut(x: &[i64], taps: &[isize], go_backwards: bool) -> Vec<Vec<i64>> {
    let least = taps.iter().copied().min().unwrap().min(0);
    let most = taps.iter().copied().max().unwrap().max(0);
    let copy = |tap: isize| {
        let (start, end) = ((tap - least) as usize, (most - tap) as usize);
        let mut copy: Vec<i64> =
            if start + end > x.len() { vec![] } else { x[start..x.len() - end].to_vec() };
        if go_backwards {
            copy.reverse();
        }
        copy
    };
    taps.iter().map(|tap| copy(*tap)).collect()
}

/// Three outputs: fed back, fed back with taps, and not fed back.
type Rows = (Vec<i64>, Vec<i64>, Vec<i64>);

#[derive(Debug)]
struct Case {
    x: Vec<i64>,
    y: Vec<i64>,
    x_taps: [isize; 3],
    y_taps: [isize; 1],
    h0: i64,
    u0: Vec<i64>,
    u_taps: [isize; 2],
    n_steps: Option<usize>,
    go_backwards: bool,
    end: i64,
}

impl Case {
    /// The number of steps there are rows for.
    fn available(&self) -> usize {
        let copies = [cut(&self.x, &self.x_taps, false), cut(&self.y, &self.y_taps, false)];
        copies.iter().flatten().map(Vec::len).min().unwrap()
    }

    /// The plain loop. The outputs are one growing list each, initial values first.
    fn plain(&self) -> Rows {
        let x = cut(&self.x, &self.x_taps, self.go_backwards);
        let y = cut(&self.y, &self.y_taps, self.go_backwards);
        let steps = self.n_steps.unwrap_or(self.available());
        let (mut h, mut u, mut s) = (vec![self.h0], self.u0.clone(), vec![]);
        for t in 0..steps {
            let u_past = self.u_taps.map(|tap| u[(self.u0.len() + t).checked_add_signed(tap).unwrap()]);
            let seen = [x[0][t], x[1][t], x[2][t], y[0][t], h[t], u_past[0], u_past[1]];
            let value = mix(&seen);
            h.push(value);
            u.push(value ^ 5);
            s.push(value ^ 9);
            if value % 16 == self.end {
                break;
            }
        }
        (h.split_off(1), u.split_off(self.u0.len()), s)
    }

    fn scanned(&self) -> Result<Rows, elman::Error> {
        let described = scan()
            .sequences((Input(&self.x).taps(self.x_taps), Input(&self.y[..]).taps(self.y_taps)))
            .outputs_info((Initial(self.h0), Initial(self.u0.clone()).taps(self.u_taps), None))
            .go_backwards(self.go_backwards);
        let described = match self.n_steps {
            Some(n) => described.n_steps(n),
            None => described,
        };
        described.run_until(|([x0, x1, x2], [y]), (h, [u0, u1], ())| {
            let value = mix(&[*x0, *x1, *x2, *y, *h, *u0, *u1]);
            ((value, value ^ 5, value ^ 9), until(value % 16 == self.end))
        })
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let numbers = |most| prop::collection::vec(-99..99i64, 0..most);
    let u_taps = (1..4isize, 1..4isize).prop_filter("different taps", |(a, b)| a != b);
    let taps = prop::array::uniform3(-3..4isize);
    (
        numbers(16),
        numbers(16),
        taps,
        -2..3isize,
        u_taps,
        numbers(9),
        0..20usize,
        any::<(bool, bool)>(),
        0..40i64,
    )
        .prop_map(|(x, y, x_taps, y_tap, (a, b), mut u0, n, (some, go_backwards), end)| {
            u0.resize(a.max(b) as usize, 3);
            let n_steps = some.then_some(n);
            // An `end` that no remainder equals, in some of the cases: the loop runs to its end.
            Case { x, y, x_taps, y_taps: [y_tap], h0: 8, u0, u_taps: [-a, -b], n_steps, go_backwards, end }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn scan_is_the_plain_loop(case in cases()) {
        if case.n_steps.is_some_and(|n| n > case.available()) {
            let message = case.scanned().unwrap_err().to_string();
            let named = if cut(&case.x, &case.x_taps, false)[0].len() < case.n_steps.unwrap() { 0 } else { 1 };
            prop_assert!(message.starts_with(&format!("scan: sequence {named}: expected at least ")), "{}", message);
        } else {
            prop_assert_eq!(case.scanned().unwrap(), case.plain());
        }
    }
}

/// Question one: h0 is read once, is no row of the result, and is not changed.
#[test]
fn h0_is_the_first_past_and_nothing_else() {
    let h0 = String::from("h0");
    let mut seen = vec![];
    let step = |t: usize, h_prev: &String| {
        seen.push(h_prev.clone());
        format!("h{}", t + 100)
    };
    let h = scan().sequences(0..3).outputs_info(Initial(h0.clone())).run(step).unwrap();
    assert_eq!(seen, ["h0", "h100", "h101"]);
    assert_eq!(h, ["h100", "h101", "h102"]);

    // A scan can be run again; it starts from the same h0.
    let counted = scan().outputs_info(Initial(10)).n_steps(2);
    assert_eq!(counted.run(|(), h| h + 1).unwrap(), [11, 12]);
    assert_eq!(counted.run(|(), h| h + 1).unwrap(), [11, 12]);
}

/// Question two: `None` gives the step nothing and changes nothing for the other output.
#[test]
fn none_is_an_output_that_is_not_fed_back() {
    let x = [1, 2, 3];
    let (h, s) = scan()
        .sequences(&x)
        .outputs_info((Initial(0), None))
        .run(|x, (h_prev, ())| (x + h_prev, 10 * (x + h_prev)))
        .unwrap();
    let alone = scan().sequences(&x).outputs_info(Initial(0)).run(|x, h_prev| x + h_prev).unwrap();
    assert_eq!(h, alone);
    assert_eq!(s, alone.iter().map(|h| 10 * h).collect::<Vec<_>>(), "a row for each step, as for h");
    // In the first place, and alone, which is what a scan has without outputs_info.
    let (s, h) = scan()
        .sequences(&x)
        .outputs_info((None, Initial(0)))
        .run(|x, ((), h_prev)| (10 * (x + h_prev), x + h_prev))
        .unwrap();
    assert_eq!((s, h), (vec![10, 30, 60], vec![1, 3, 6]));
    let map = |x: &i32, ()| x * x;
    assert_eq!(scan().sequences(&x).outputs_info(None).run(map).unwrap(), [1, 4, 9]);
    assert_eq!(scan().sequences(&x).run(map).unwrap(), [1, 4, 9]);
}

#[test]
fn the_condition_of_the_last_step_counts_after_it() {
    let run = |ends: [bool; 3]| scan().sequences(&ends).run_until(|end, ()| (*end, until(*end))).unwrap();
    assert_eq!(run([false, false, false]).len(), 3);
    assert_eq!(run([false, true, false]), [false, true]);
    assert_eq!(run([true, true, true]), [true]);
    // A bound that is never reached takes no memory.
    let far = scan().outputs_info(Initial(0)).n_steps(usize::MAX);
    assert_eq!(far.run_until(|(), y| (y + 1, until(*y == 2))).unwrap(), [1, 2, 3]);
}

#[test]
fn every_kind_of_sequence() {
    fn rows<S: Sequence<Item: std::fmt::Display>>(sequence: S) -> Vec<String> {
        scan().sequences(Input(sequence).taps([0])).run(|[row], ()| row.to_string()).unwrap()
    }
    assert_eq!(rows(&[1, 2]), ["1", "2"]);
    assert_eq!(rows(&vec![1, 2]), ["1", "2"]);
    assert_eq!(rows(&[1, 2, 3][1..]), ["2", "3"]);
    assert_eq!(rows(4..6), ["4", "5"]);
    #[expect(clippy::reversed_empty_ranges, reason = "it has no rows")]
    let empty = 6..4;
    assert_eq!(rows(empty), [""; 0]);
    assert_eq!(rows(&array![1, 2]), ["1", "2"]);
    let matrix = array![[1, 2], [3, 4]];
    assert_eq!(rows(&matrix), ["[1, 2]", "[3, 4]"]);
    assert_eq!(rows(&matrix.t()), ["[1, 3]", "[2, 4]"]);
    let cube = Array::from_iter(0..8).into_shape_with_order((2, 2, 2)).unwrap();
    assert_eq!(rows(&cube), [array![[0, 1], [2, 3]].to_string(), array![[4, 5], [6, 7]].to_string()]);
    let four = cube.clone().into_shape_with_order((1, 2, 2, 2)).unwrap();
    assert_eq!(rows(&four), [cube.to_string()]);
    // Up to six at once.
    let x = [1, 20];
    let sum = scan().sequences((&x, &x, &x, &x, &x, &x)).run(|(a, b, c, d, e, f), ()| a + b + c + d + e + f);
    assert_eq!(sum.unwrap(), [6, 120]);
    let info = (None, Initial(1), None, Initial(2), None, Initial(3));
    let (.., last) = scan()
        .outputs_info(info)
        .n_steps(2)
        .run(|(), ((), a, (), b, (), c)| (0, *a, 0, *b, 0, a + b + c))
        .unwrap();
    assert_eq!(last, [6, 9]);
}

#[test]
fn what_cannot_be_run_is_named() {
    let message = |result: Result<Vec<i32>, elman::Error>| result.unwrap_err().to_string();
    let never = |what| -> i32 { panic!("{what} must not run a step") };

    assert_eq!(
        message(scan().run(|(), ()| never("no length"))),
        "scan: expected n_steps or a sequence, found neither"
    );
    let (long, short) = ([0; 9], [0; 4]);
    let result =
        scan().sequences((&long, &short)).n_steps(5).name("decoder").run(|_, ()| never("a short one"));
    assert_eq!(message(result), "decoder: sequence 1: expected at least 5 rows for 5 steps, found 4");
    let result = scan().sequences(Input(&short).taps([2, -1])).n_steps(2).run(|_, ()| never("taps"));
    assert_eq!(
        message(result),
        "scan: sequence 0: expected at least 5 rows for 2 steps with taps from -1 to 2, found 4"
    );
    let result =
        scan().sequences(Input(&short).taps([isize::MIN, isize::MAX])).n_steps(1).run(|_, ()| never("far"));
    assert!(message(result).contains(&format!("expected at least {} rows for 1 steps", usize::MAX)));

    for taps in [[-1, 0], [-1, 1], [-2, -2]] {
        let result =
            scan().outputs_info(Initial(vec![0; 2]).taps(taps)).n_steps(3).run(|(), _| never("taps"));
        let expected = format!("scan: output 0: taps: expected different numbers below 0, found {taps:?}");
        assert_eq!(message(result), expected);
    }
    for rows in [0, 2, 4] {
        let info = (None, Initial(vec![0; rows]).taps([-1, -3]));
        let result = scan().outputs_info(info).n_steps(3).run(|(), _| (0, never("initial values")));
        assert_eq!(
            message(result.map(|(rows, _)| rows)),
            format!("scan: output 1: initial values: expected 3, for the taps [-1, -3], found {rows}")
        );
    }
    let result =
        scan().outputs_info(Initial(vec![0]).taps([isize::MIN])).n_steps(3).run(|(), _| never("far"));
    let furthest = isize::MIN.unsigned_abs();
    assert!(message(result).contains(&format!("initial values: expected {furthest}, for the taps")));

    // Too short for the taps and no n_steps: there are 0 steps, as in Theano; and 0 steps need no rows.
    let none = scan().sequences(Input(&[1]).taps([-1, 1])).run(|_, ()| never("0 steps"));
    assert_eq!(none.unwrap(), [0; 0]);
    let none = scan().sequences(Input(&[1; 0]).taps([-1, 1])).n_steps(0).run(|_, ()| never("0 steps"));
    assert_eq!(none.unwrap(), [0; 0]);
}
