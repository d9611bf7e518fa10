//! What callers may rely on besides the numbers: ties, empty batches, refusals that change nothing.

mod common;

use common::*;
use elman::ndarray::s;
use elman::{Batch, Feedback, Name, Network, Params, Sentences, Shape, Update};
use elman_fast::{Fast, Isa};

const SIZES: Shape = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 20, ..Shape::ELMAN };

/// One sentence.
fn one(words: &[u32], labels: &[u32]) -> Sentences {
    Sentences::one(words, labels).unwrap()
}

#[test]
fn of_equally_probable_labels_the_first_wins() {
    for shape in networks(SIZES) {
        for isa in Isa::available() {
            let mut params: Params<f32> = params(shape, &mut Random::new(1));
            // Labels 3 and 17, in different vectors, are equal and larger than all others.
            params.w_mut().fill(0.0);
            params.tensor_mut(Name::Transitions).iter_mut().for_each(|scores| scores.fill(0.0));
            for name in [Name::Start, Name::End] {
                params.vector_mut(name).iter_mut().for_each(|scores| scores.fill(0.0));
            }
            params.b_mut().fill(-1.0);
            params.b_mut()[3] = 2.0;
            params.b_mut()[17] = 2.0;
            let mut tagger = Fast::with(isa).unwrap().tagger(&params).unwrap();
            let mut labels = [0; 4];
            tagger.label(&[0, 4, 2, 2], &mut labels).unwrap();
            assert_eq!(labels, [3; 4], "{isa} {shape:?}");
        }
    }
}

#[test]
fn an_empty_batch_has_no_labels() {
    for threads in [1, 2] {
        let params: Params<f32> = params(SIZES, &mut Random::new(1));
        let mut tagger = Fast::new().threads(threads).unwrap().tagger(&params).unwrap();
        tagger.label_all(Sentences::new().batch(), &mut []).unwrap();
    }
}

#[test]
fn a_refused_call_of_a_learner_changes_nothing() {
    let params: Params<f32> = params(SIZES, &mut Random::new(1));
    let (good, update) = (one(&[0, 4], &[0, 19]), &mut Update::sgd(0.125));
    let second = |words: &[u32], labels: &[u32]| {
        let mut sentences = good.clone();
        sentences.push(words, labels).unwrap();
        sentences
    };
    let unlabelled = one(&[0, 4], &[]);
    let bad = [Sentences::new(), unlabelled, second(&[5], &[0]), second(&[0], &[20])];
    let square = Shape { classes: 4, ..SIZES };
    let jordan = Params::<f32>::zeros(Shape { feedback: Feedback::Output, ..square }).unwrap();
    for threads in [1, 2] {
        let mut learner = Fast::new().threads(threads).unwrap().learner(params.clone()).unwrap();
        let mut grad = params.map(|_| 7.0);
        for batch in &bad {
            let batch = batch.batch();
            assert!(learner.gradient(batch, 1.0, &mut grad).is_err(), "{batch:?}");
            assert!(learner.step(batch, update).is_err(), "{batch:?}");
            assert!(learner.apply(&grad, batch, update).is_err(), "{batch:?}");
        }
        let mut other = jordan.clone();
        assert!(learner.gradient(good.batch(), 1.0, &mut other).is_err());
        assert!(learner.apply(&other, good.batch(), update).is_err());
        assert!(learner.step(good.batch(), &mut Update::sgd(f32::NAN)).is_err());
        assert!(learner.apply(&grad, good.batch(), &mut Update::sgd(f32::NAN)).is_err());
        assert!(grad.as_slice().iter().all(|v| *v == 7.0) && other == jordan);
        assert_eq!(learner.params(), params);
    }
}

#[test]
fn a_refused_call_of_a_tagger_changes_nothing() {
    let mut tagger = Fast::new().tagger(&params::<f32, _>(SIZES, &mut Random::new(1))).unwrap();
    let (good, bad) = (one(&[0, 4], &[]), one(&[0, 5], &[]));
    for (batch, places) in [(good.batch(), 1), (good.batch(), 3), (bad.batch(), 2)] {
        let mut labels = vec![77; places];
        assert!(tagger.label_all(batch, &mut labels).is_err(), "{batch:?}, {places}");
        assert_eq!(labels, vec![77; places]);
    }
    assert!(tagger.scores(&[]).is_err() && tagger.scores(&[5]).is_err());
    assert!(tagger.label(&[], &mut []).is_err());
    assert_eq!(tagger.scores(&[4]).unwrap().dim(), (1, 20));
}

/// The projections of 4,000 words would take more than 64 MiB: then each sentence is multiplied by wx.
#[test]
fn a_large_vocabulary_gets_the_labels_that_a_small_one_gets() {
    for shape in networks(Shape { embed: 1, window: 9, hidden: 512, classes: 3, vocab: 20, ..Shape::ELMAN }) {
        let random = &mut Random::new(1);
        let small: Params<f32> = params(shape, random);
        let mut large = Params::<f32>::zeros(Shape { vocab: 4000, ..shape }).unwrap();
        for ((_, mut to), (_, from)) in
            large.tensors_mut().zip(small.tensors()).filter(|((name, _), _)| *name != Name::Emb)
        {
            to.assign(&from);
        }
        large.emb_mut().slice_mut(s![..20, ..]).assign(&small.emb().slice(s![..20, ..]));
        large.emb_mut().row_mut(4000).assign(&small.emb().row(20));
        let sentences = sentences(&shape, 3, random);
        let labels = [small, large].map(|params| {
            let mut labels = vec![9; sentences.batch().words().len()];
            Fast::new().tagger(&params).unwrap().label_all(sentences.batch(), &mut labels).unwrap();
            labels
        });
        assert_eq!(labels[0], labels[1], "{shape:?}");
    }
}

/// Where no window reaches beyond a sentence, the padding is neither moved nor divided by its norm.
#[test]
fn the_padding_of_a_window_of_one_is_never_changed() {
    for shape in networks(Shape { window: 1, ..SIZES }) {
        let random = &mut Random::new(2);
        let params: Params<f32> = params(shape, random);
        let sentences = sentences(&shape, 20, random);
        let batch: Batch<'_> = sentences.batch();
        let mut learner = Fast::new().learner(params.clone()).unwrap();
        for batch in [batch, batch.slice(0..3), batch.slice(3..4)] {
            learner.step(batch, &mut Update::sgd(0.125)).unwrap();
            assert_eq!(learner.params().emb().row(5), params.emb().row(5), "{shape:?}");
        }
    }
}
