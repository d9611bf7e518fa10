//! What a report says when something is wrong, and that the case it names can be run again alone.

use elman::{Batch, Error, Learner, Network, Params, Tagger};
use elman_reference::Reference;
use elman_verify::strategies::{Problem, Sizes, networks, problems};
use elman_verify::{Options, Report, check_gradient, check_recurrence, check_tagger, html};

/// The reference, with one gradient wrong once the network has two hidden units.
struct Wrong;

impl Network<f64> for Wrong {
    fn name(&self) -> String {
        "wrong <one>".to_string()
    }
    fn gradient(&self, params: &Params<f64>, batch: Batch<'_>, grad: &mut Params<f64>) -> Result<f64, Error> {
        let loss = Network::gradient(&Reference::new(), params, batch, grad)?;
        if params.shape().hidden > 1 {
            grad.wh_mut()[[0, 1]] += 0.25;
        }
        Ok(loss)
    }
    fn learner(&self, params: Params<f64>) -> Result<Box<dyn Learner<f64>>, Error> {
        Network::learner(&Reference::new(), params)
    }
    fn tagger(&self, params: &Params<f64>) -> Result<Box<dyn Tagger<f64>>, Error> {
        Network::tagger(&Reference::new(), params)
    }
}

fn options() -> Options {
    Options::new().cases(10).seed(7)
}

#[test]
fn a_failure_names_its_place_and_shrinks() {
    let report = check_gradient(&Wrong, &options());
    assert!(!report.passed());
    assert_eq!(report.failures.len(), 1);
    let failure = &report.failures[0];
    assert!(failure.message.starts_with("wrong <one>: wh[0,1] = 0.2"), "{}", failure.message);
    assert!(failure.message.contains(", expected ") && failure.message.contains(", allowed "));
    assert!(failure.message.contains(", seed 7"), "{}", failure.message);
    let (problem, message) = failure.smallest.as_ref().unwrap();
    for smallest in ["vocab: 1", "embed: 1", "window: 1", "hidden: 2", "classes: 1", "words: [0]"] {
        assert!(problem.contains(smallest), "{problem}");
    }
    assert!(message.contains("wh[0,1]"), "{message}");
    let text = report.to_string();
    assert!(text.contains(&format!("elman verify --seed 7 --case {}", failure.case)), "{text}");

    let again = check_gradient(&Wrong, &options().only(&failure.case));
    assert_eq!(again.cases, 1);
    assert_eq!(again.failures[0].message, failure.message);
    let none = check_gradient(&Wrong, &options().only("gradient/none"));
    assert!(none.cases == 0 && !none.passed(), "a report about nothing has not passed");
}

#[test]
fn the_same_seed_makes_the_same_cases_and_another_one_others() {
    let network: &dyn Network<f64> = &Reference::new();
    let worst = |report: &Report| format!("{:?}", report.measurements);
    let [one, same, other] = [7, 7, 8].map(|seed| check_gradient(network, &options().cases(3).seed(seed)));
    assert_eq!(worst(&one), worst(&same));
    assert_ne!(worst(&one), worst(&other));
}

#[test]
fn progress_names_every_case() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = options().cases(2).progress(move |case| sender.send(case.to_string()).unwrap());
    let report = check_tagger::<f32>(&Reference::new(), &options);
    drop(options);
    let names: Vec<String> = receiver.iter().collect();
    assert_eq!(names.len(), report.cases);
    assert!(names.contains(&"tagger/1".to_string()) && names.contains(&"tagger/tutorial".to_string()));
}

#[test]
fn half_of_the_cases_of_a_recurrence_are_large() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = options().cases(5).progress(move |case| sender.send(case.to_string()).unwrap());
    check_recurrence::<f32>("reference", &Reference::new(), &options).assert_passed();
    drop(options);
    let names: Vec<String> =
        receiver.iter().filter(|name| name.ends_with(|c: char| c.is_ascii_digit())).collect();
    let expected =
        ["recurrence-large/0", "recurrence-large/1", "recurrence/0", "recurrence/1", "recurrence/2"];
    assert_eq!(names, expected);
}

#[test]
fn the_page_shows_what_the_report_says() {
    let good = check_gradient::<f32>(&Reference::new(), &options());
    let bad = check_gradient(&Wrong, &options());
    let page = html(&[good.clone(), bad.clone()]).unwrap();
    assert_eq!(page.matches("<svg").count(), good.histograms.len() + bad.histograms.len());
    assert!(page.contains("wrong &lt;one&gt;: wh[0,1]") && !page.contains("wrong <one>"));
    assert!(page.contains("1 failed") && page.contains("passed"));
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    let entries: usize = good.measurements.iter().map(|m| m.entries).sum();
    let counted: usize = good.histograms.values().map(|h| h.exact + h.counts.iter().sum::<usize>()).sum();
    assert_eq!(counted, entries);
    let json = serde_json::to_value(&bad).unwrap();
    assert_eq!(json["failures"][0]["case"], bad.failures[0].case);
    assert_eq!(json["histograms"].as_array().unwrap().len(), bad.histograms.len());
}

#[test]
fn strategies_reach_the_sizes_that_they_promise() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = problems(Sizes::Full, networks());
    let drawn: Vec<Problem> = (0..4000).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let any = |what: &str, holds: &dyn Fn(&Problem) -> bool| assert!(drawn.iter().any(holds), "{what}");
    for (cell, feedback) in networks().cells {
        any(&format!("{cell} {feedback}"), &|p| (p.shape.cell, p.shape.feedback) == (cell, feedback));
    }
    for window in (1..=19).step_by(2).chain([33, 41]) {
        any(&format!("window {window}"), &|p| p.shape.window == window);
    }
    for size in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128] {
        any(&format!("embed {size}"), &|p| p.shape.embed == size);
        any(&format!("hidden {size}"), &|p| p.shape.hidden == size);
        any(&format!("classes {size}"), &|p| p.shape.classes == size);
    }
    any("more than 200 hidden units", &|p| p.shape.hidden > 200);
    any("more than 200 labels", &|p| p.shape.classes > 200);
    any("a vocabulary above 200", &|p| p.shape.vocab > 200);
    let words = |p: &Problem| p.batch.batch().sentence(0).words.to_vec();
    any("one word", &|p| words(p).len() == 1);
    any("more than 250 words", &|p| words(p).len() > 250);
    any("one word over and over", &|p| words(p).len() > 9 && words(p).iter().all(|w| *w == words(p)[0]));
    any("a window wider than the sentence", &|p| p.shape.window > 2 * words(p).len() + 1);
    any("a batch above 64", &|p| p.batch.batch().len() > 64);
    any("a sentence twice", &|p| {
        let batch = p.batch.batch();
        batch.len() > 1 && batch.sentence(0) == batch.sentence(batch.len() - 1)
    });
    let few = &drawn[..300];
    for problem in few {
        assert_eq!(problem.params::<f32>().unwrap().shape(), problem.shape);
        problem.batch.batch().check(&problem.shape).unwrap();
    }
    let entries = |holds: &dyn Fn(f32) -> bool| {
        few.iter().any(|p| p.params::<f32>().unwrap().wx().iter().any(|v| holds(*v)))
    };
    assert!(entries(&|v| v != 0.0 && v.abs() < f32::MIN_POSITIVE), "subnormal weights");
    assert!(entries(&|v| v.abs() > 15.0), "saturating weights");
    assert!(
        few.iter().any(|p| p.params::<f32>().unwrap().b().iter().any(|v| v.abs() > 500.0)),
        "huge scores"
    );
}
