//! The equations, against numbers that were not computed by this code.

use elman::ndarray::{Array2, arr1, arr2, array};
use elman::{Feedback, Labelled, Network, Params, Real, Sentence, Shape};
use elman_reference::Reference;

fn sentence(words: &[usize]) -> Sentence {
    Sentence::new(words.to_vec()).unwrap()
}

fn labelled(words: &[usize], labels: &[usize]) -> Labelled {
    Labelled::new(sentence(words), labels.to_vec()).unwrap()
}

fn close(what: &str, found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{what} = {found}, expected {expected}");
}

/// One embedding, one hidden unit, two labels, with numbers whose exponentials are whole.
///
/// x = 1 for word 0 and 0 for word 1; wx = ln 3, wh = 7 ln 2, h0 = 1/7, bh = 0:
///
/// - z[0] = ln 3 + ln 2 = ln 6, so h[0] = 6/7;
/// - z[1] = 7 ln 2 · 6/7 = ln 64, so h[1] = 64/65.
///
/// w = (0, 7 ln 2), b = (0, -5 ln 2): s[0] = softmax(0, ln 2) = (1/3, 2/3).
fn by_hand<T: Real>() -> Params<T> {
    let ln2 = 2.0_f64.ln();
    Params {
        emb: arr2(&[[1.0], [0.0], [9.0]]),
        wx: arr2(&[[3.0_f64.ln()]]),
        wh: arr2(&[[7.0 * ln2]]),
        w: arr2(&[[0.0, 7.0 * ln2]]),
        bh: arr1(&[0.0]),
        b: arr1(&[0.0, -5.0 * ln2]),
        h0: arr1(&[1.0 / 7.0]),
        feedback: Feedback::Hidden,
    }
    .map(T::from_f64)
}

#[test]
fn two_words_by_hand() {
    let s = Reference::new().predict(&by_hand::<f64>(), &sentence(&[0, 1])).unwrap();
    // softmax(0, y)[1] = 1 / (1 + e^-y), with y = 7 ln 2 · 64/65 - 5 ln 2 = ln 2 · 123/65.
    let second = 1.0 / (1.0 + (-123.0 / 65.0_f64).exp2());
    for (what, found, expected) in [
        ("s[0][0]", s[[0, 0]], 1.0 / 3.0),
        ("s[0][1]", s[[0, 1]], 2.0 / 3.0),
        ("s[1][0]", s[[1, 0]], 1.0 - second),
        ("s[1][1]", s[[1, 1]], second),
    ] {
        close(what, found, expected, 1e-15);
    }
}

/// The gradient of `by_hand` with the one word 0 and label 0: loss = ln 3, ds = (-2/3, 2/3),
/// dh = 7 ln 2 · 2/3, dz = dh · 6/7 · 1/7 = 4/7 ln 2.
#[test]
fn the_gradient_of_one_word_by_hand() {
    let ln2 = 2.0_f64.ln();
    let dz = 4.0 / 7.0 * ln2;
    let params = by_hand::<f64>();
    let mut grad = params.map(|_| f64::NAN);
    let loss = Reference::new().gradient(&params, &[labelled(&[0], &[0])], &mut grad).unwrap();
    close("loss", loss, 3.0_f64.ln(), 1e-15);
    for (name, found, expected) in [
        ("emb[0]", grad.emb[[0, 0]], dz * 3.0_f64.ln()),
        ("emb[1]", grad.emb[[1, 0]], 0.0),
        ("emb[padding]", grad.emb[[2, 0]], 0.0),
        ("wx", grad.wx[[0, 0]], dz),
        ("wh", grad.wh[[0, 0]], dz / 7.0),
        ("w[0]", grad.w[[0, 0]], -2.0 / 3.0 * 6.0 / 7.0),
        ("w[1]", grad.w[[0, 1]], 2.0 / 3.0 * 6.0 / 7.0),
        ("bh", grad.bh[0], dz),
        ("b[0]", grad.b[0], -2.0 / 3.0),
        ("b[1]", grad.b[1], 2.0 / 3.0),
        ("h0", grad.h0[0], dz * 7.0 * ln2),
    ] {
        close(name, found, expected, 1e-15);
    }
}

/// Entry `k` of all parameters, counted through the seven tensors in order, is `((7k mod 19) - 9) / 20`.
fn counted(feedback: Feedback) -> Params<f64> {
    let shape = Shape { vocab: 3, embed: 2, window: 3, hidden: 2, classes: 3, feedback };
    let mut params = Params::zeros(shape).unwrap();
    let mut k = 0;
    for (_, mut tensor) in params.tensors_mut() {
        for entry in &mut tensor {
            *entry = ((7 * k) % 19 - 9) as f64 / 20.0;
            k += 1;
        }
    }
    params
}

/// Outputs, loss and gradient of [`counted`] for the words 2, 0, 2, 1 with labels 1, 2, 0, 1, which are from another
/// program: the loss written out in Python with mpmath at 60 digits, its gradient by central differences with a step
/// of 1e-25.
#[test]
fn numbers_of_another_program() {
    let loss = 1.343506649204623;
    let s = array![
        [0.5120535079763284, 0.16694534571955638, 0.3210011463041152],
        [0.5047314883366161, 0.1725461341334158, 0.3227223775299681],
        [0.5119779553609596, 0.1670026367630773, 0.3210194078759631],
        [0.5106008243915452, 0.1680487342036769, 0.32135044140477786],
    ];
    let gradient = Params {
        emb: arr2(&[
            [0.0033861917507810074, -0.005336861927899317],
            [0.005833882620655945, -0.0013476654395559848],
            [0.01124526701886672, -0.01208783131060738],
            [0.010950467069992314, -0.013812019562104986],
        ]),
        wx: arr2(&[
            [-0.0018765403014392398, -0.0005037755522450324],
            [0.01281624869947968, 0.014670189240385755],
            [0.004570523561542312, 0.004440353353823396],
            [-0.003805289487432297, -0.0052363789785876864],
            [-0.018533724460804705, -0.021379271794386683],
            [0.004301520964482127, 0.006281653120006251],
        ]),
        wh: arr2(&[
            [0.014121903219249861, 0.014418533957537874],
            [0.0076523948256948604, 0.007078173835261106],
        ]),
        w: arr2(&[
            [0.10022108742299043, -0.11303958584675435, 0.012818498423763926],
            [0.1134299267077238, -0.1747375924229741, 0.06130766571525031],
        ]),
        bh: arr1(&[0.04197939714548263, 0.043354185121802245]),
        b: arr1(&[0.2598409440163623, -0.3313642872950684, 0.07152334327870608]),
        h0: arr1(&[0.00412525406157117, -0.008026890682385237]),
        feedback: Feedback::Hidden,
    };
    compare(loss, &s, &gradient);
}

/// The same for the Jordan network.
#[test]
fn numbers_of_another_program_for_jordan() {
    let loss = 1.0622729377468207;
    let s = array![
        [0.34724552438451445, 0.44118363760932355, 0.21157083800616197],
        [0.32802016540990203, 0.4690083100562898, 0.2029715245338082],
        [0.34971360500030096, 0.43628283195337536, 0.2140035630463237],
        [0.33806002580337297, 0.4559065800881054, 0.20603339410852162],
    ];
    let gradient = Params {
        emb: arr2(&[
            [-0.006515504051837012, -0.007989467156716095],
            [0.012276327882849209, 0.01514099481016762],
            [0.010882321970480186, 0.004636162032288478],
            [-0.01909296462773278, -0.02003001062415972],
        ]),
        wx: arr2(&[
            [0.0010656715537804536, 0.004432921530005013],
            [0.00021593248723148834, 0.007985828248904328],
            [-0.013549326551894478, 0.006238610862971021],
            [-0.000282593107879641, -0.00606106447224676],
            [0.012470152688846213, -0.017112876596235924],
            [0.00549283949984595, 0.005189448112477945],
        ]),
        wh: arr2(&[
            [0.002127112965295889, 0.00043587282483077634],
            [0.01332678089505006, -0.012009706953171473],
            [0.004340237555953999, -0.0031859414962991596],
        ]),
        w: arr2(&[
            [0.06251506474960843, -0.027347971814405618, -0.0351670929352028],
            [0.023934604721032086, -0.03142472001374797, 0.007490115292715885],
        ]),
        bh: arr1(&[-0.0024278259044256153, 0.010151162053998044]),
        b: arr1(&[0.09036301967717007, -0.0506984526200429, -0.039664567057127176]),
        h0: arr1(&[0.006035664394094308, 0.00555548933018139, -0.010003871058509587]),
        feedback: Feedback::Output,
    };
    compare(loss, &s, &gradient);
}

fn compare(loss: f64, s: &Array2<f64>, gradient: &Params<f64>) {
    let params = counted(gradient.feedback);
    let words = [2, 0, 2, 1];
    let batch = [labelled(&words, &[1, 2, 0, 1])];
    let found_s = Reference::new().predict(&params, &sentence(&words)).unwrap();
    for ((place, found), expected) in found_s.indexed_iter().zip(s) {
        close(&format!("s{place:?}"), *found, *expected, 1e-15);
    }
    let mut grad = params.clone();
    close("loss", Reference::new().gradient(&params, &batch, &mut grad).unwrap(), loss, 1e-15);
    for ((name, found), (_, expected)) in grad.tensors().into_iter().zip(gradient.tensors()) {
        for ((place, found), expected) in found.indexed_iter().zip(&expected) {
            close(&format!("{name}{place:?}"), *found, *expected, 1e-15);
        }
    }

    // The same lines in f32.
    let single = params.map(|v| v as f32);
    let mut grad = single.clone();
    let found = Reference::new().gradient(&single, &batch, &mut grad).unwrap();
    close("loss in f32", f64::from(found), loss, 1e-6);
    for ((name, found), (_, expected)) in grad.tensors().into_iter().zip(gradient.tensors()) {
        for ((place, found), expected) in found.indexed_iter().zip(&expected) {
            close(&format!("{name}{place:?} in f32"), f64::from(*found), *expected, 1e-6);
        }
    }
}

/// Scores so far apart that the softmax of the label is 0 in any floating-point number: the loss is their
/// difference, not infinity, and the gradient stays finite. In f32 as in f64.
fn large_scores<T: Real>(feedback: Feedback) {
    let shape = Shape { vocab: 2, embed: 1, window: 1, hidden: 1, classes: 3, feedback };
    let mut params = Params::<T>::zeros(shape).unwrap();
    params.b = arr1(&[-5000.0, 5000.0, 0.0]).mapv(T::from_f64);
    let mut grad = params.clone();
    let loss = Reference::new().gradient(&params, &[labelled(&[0], &[0])], &mut grad).unwrap();
    assert_eq!(loss, T::from_f64(10_000.0));
    assert_eq!(grad.b, arr1(&[-1.0, 1.0, 0.0]).mapv(T::from_f64));
    let s = Reference::new().predict(&params, &sentence(&[0])).unwrap();
    assert_eq!(s, arr2(&[[0.0, 1.0, 0.0]]).mapv(T::from_f64));
    // A state that is 0 or 1 to the last bit.
    for z in [-5000.0, 5000.0] {
        params.bh.fill(T::from_f64(z));
        params.w.fill(T::one());
        let loss = Reference::new().gradient(&params, &[labelled(&[0], &[1])], &mut grad).unwrap();
        assert_eq!(loss, T::zero());
        for (name, tensor) in grad.tensors() {
            assert!(tensor.iter().all(|g| g.to_f64().is_finite()), "{name} at {z}: {tensor}");
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    for feedback in [Feedback::Hidden, Feedback::Output] {
        large_scores::<f32>(feedback);
        large_scores::<f64>(feedback);
        // A dual number has the derivative of the loss there too, and no NaN from infinity by infinity.
        large_scores::<num_dual::Dual64>(feedback);
    }
    let mut params = by_hand::<num_dual::Dual64>();
    params.bh[0] = num_dual::Dual64::new(-5000.0, 1.0);
    let mut grad = params.clone();
    let loss = Reference::new().gradient(&params, &[labelled(&[0], &[0])], &mut grad).unwrap();
    assert_eq!(loss.eps, 0.0);
}
