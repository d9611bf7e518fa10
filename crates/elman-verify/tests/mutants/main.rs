//! Implementations broken on purpose: the suite must reject every one, and accept what they were made from.
//!
//! `cargo test -p elman-verify --test mutants -- --nocapture` prints by which check, and where.
#![allow(missing_docs)] // The names of the mutations say what they are.

mod subject;

use elman::Network;
use elman_verify::{
    Options, Report, check_agreement, check_doors, check_gradient, check_invariance, check_learner,
    check_recurrence, check_tagger,
};
use subject::Subject;

/// How an implementation is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Not at all.
    Sound,
    // The recurrence, forward.
    H0Ignored,
    H0InEveryStep,
    H0AddedToStates,
    StateNotFedBack,
    StateFromLastCall,
    WhTransposedForward,
    BhMissing,
    BhTwice,
    InputTailDropped,
    StateTailDropped,
    SigmoidIsTanh,
    SigmoidRough,
    SigmoidClipped,
    SigmoidOverflows,
    SigmoidOfHalf,
    StatesInHalfPrecision,
    SubnormalsFlushed,
    // Windows.
    WindowLate,
    WindowReversed,
    WordsReversed,
    PaddingIsFirstRow,
    PaddingReadAsZero,
    // Outputs and loss.
    OutputsLate,
    BMissing,
    BTwice,
    SoftmaxWithoutMaximum,
    SoftmaxTailDropped,
    SoftmaxRough,
    MeanForgotten,
    MeanForgottenInGradient,
    BatchMeanForgotten,
    LengthOfFirstSentence,
    LossOfUnderflow,
    LossOfLogBase2,
    TargetMissing,
    // Backpropagation.
    LastStepOnly,
    SlopeMissing,
    SlopeOfTanh,
    SlopeOfPreviousState,
    CarryMissing,
    CarryTwice,
    CarryStopsAfterThree,
    CarryLeftForNextSentence,
    WhTransposedBackward,
    WhGradientTransposed,
    WhGradientOfOwnState,
    WhGradientWithoutH0,
    WGradientOfPreviousState,
    H0GradientDropped,
    H0GradientOfLastStep,
    H0GradientOfSecondStep,
    H0GradientOfEveryStep,
    H0GradientWithoutWh,
    H0GradientOfFirstSequence,
    H0GradientOverwritten,
    LastOuterGradientIgnored,
    // The Jordan network alone.
    JordanS0Ignored,
    JordanS0InEveryStep,
    JordanOutputOfTwoStepsBefore,
    JordanStateFedBack,
    JordanScoresFedBack,
    JordanBestLabelFedBack,
    JordanWhTransposedForward,
    JordanTakenForElman,
    JordanCarryMissing,
    JordanCarryTwice,
    JordanSoftmaxForgotten,
    JordanSoftmaxDiagonal,
    JordanMeanForgotten,
    JordanCarryNotInW,
    JordanS0GradientDropped,
    JordanS0GradientThroughSoftmax,
    JordanWhGradientTransposed,
    // Sums.
    RepeatedWordOverwritten,
    PaddingGradientSkipped,
    PaddingGradientOfLeftOnly,
    CentreWordOnly,
    EmbeddingsOfOtherWordsGetGradient,
    FirstSentenceOnly,
    LastSentenceDropped,
    GradNotCleared,
    GradientLeftForNextCall,
    GradientInHalfPrecision,
    OtherRoundingEachCall,
    /// One entry of a tensor off by 0.1%.
    OneEntryWrong(usize),
    // The learner.
    StepUphill,
    BhNotUpdated,
    H0NotUpdated,
    UpdatedWeightsInBackward,
    LearnerKeepsFirstWeights,
    LossAfterStep,
    NothingNormalised,
    EveryRowNormalised,
    PaddingNotNormalised,
    PaddingAlwaysNormalised,
    FirstSentenceNormalised,
    NormOfAbsolutes,
    NormNotRooted,
    ZeroRowDivided,
    StepChangesBeforeRefusal,
    // The tagger.
    LastOfTies,
    LabelOffByOne,
    LastLabelNeverGiven,
    LastWordNotLabelled,
    LabelsAppended,
    LabelsClearedOnRefusal,
    LabelAllReversed,
    // The recurrence alone.
    SequencesBleed,
    TraceAccumulates,
    TraceHasPreviousStates,
    InputGradientOfFirstSequence,
    WidthUnchecked,
    OuterGradientUnchecked,
    // The doors.
    ShapesUnchecked,
    IdsUnchecked,
    LabelsUnchecked,
    PaddingAcceptedAsWord,
    OnlyFirstSentenceChecked,
    EmptyBatchAccepted,
    GradReplaced,
    ClearedBeforeChecks,
}
use Mutation::*;

const ALL: [Mutation; 127] = [
    H0Ignored,
    H0InEveryStep,
    H0AddedToStates,
    StateNotFedBack,
    StateFromLastCall,
    WhTransposedForward,
    BhMissing,
    BhTwice,
    InputTailDropped,
    StateTailDropped,
    SigmoidIsTanh,
    SigmoidRough,
    SigmoidClipped,
    SigmoidOverflows,
    SigmoidOfHalf,
    StatesInHalfPrecision,
    SubnormalsFlushed,
    WindowLate,
    WindowReversed,
    WordsReversed,
    PaddingIsFirstRow,
    PaddingReadAsZero,
    OutputsLate,
    BMissing,
    BTwice,
    SoftmaxWithoutMaximum,
    SoftmaxTailDropped,
    SoftmaxRough,
    MeanForgotten,
    MeanForgottenInGradient,
    BatchMeanForgotten,
    LengthOfFirstSentence,
    LossOfUnderflow,
    LossOfLogBase2,
    TargetMissing,
    LastStepOnly,
    SlopeMissing,
    SlopeOfTanh,
    SlopeOfPreviousState,
    CarryMissing,
    CarryTwice,
    CarryStopsAfterThree,
    CarryLeftForNextSentence,
    WhTransposedBackward,
    WhGradientTransposed,
    WhGradientOfOwnState,
    WhGradientWithoutH0,
    WGradientOfPreviousState,
    H0GradientDropped,
    H0GradientOfLastStep,
    H0GradientOfSecondStep,
    H0GradientOfEveryStep,
    H0GradientWithoutWh,
    H0GradientOfFirstSequence,
    H0GradientOverwritten,
    LastOuterGradientIgnored,
    JordanS0Ignored,
    JordanS0InEveryStep,
    JordanOutputOfTwoStepsBefore,
    JordanStateFedBack,
    JordanScoresFedBack,
    JordanBestLabelFedBack,
    JordanWhTransposedForward,
    JordanTakenForElman,
    JordanCarryMissing,
    JordanCarryTwice,
    JordanSoftmaxForgotten,
    JordanSoftmaxDiagonal,
    JordanMeanForgotten,
    JordanCarryNotInW,
    JordanS0GradientDropped,
    JordanS0GradientThroughSoftmax,
    JordanWhGradientTransposed,
    RepeatedWordOverwritten,
    PaddingGradientSkipped,
    PaddingGradientOfLeftOnly,
    CentreWordOnly,
    EmbeddingsOfOtherWordsGetGradient,
    FirstSentenceOnly,
    LastSentenceDropped,
    GradNotCleared,
    GradientLeftForNextCall,
    GradientInHalfPrecision,
    OtherRoundingEachCall,
    OneEntryWrong(0),
    OneEntryWrong(1),
    OneEntryWrong(2),
    OneEntryWrong(3),
    OneEntryWrong(4),
    OneEntryWrong(5),
    OneEntryWrong(6),
    StepUphill,
    BhNotUpdated,
    H0NotUpdated,
    UpdatedWeightsInBackward,
    LearnerKeepsFirstWeights,
    LossAfterStep,
    NothingNormalised,
    EveryRowNormalised,
    PaddingNotNormalised,
    PaddingAlwaysNormalised,
    FirstSentenceNormalised,
    NormOfAbsolutes,
    NormNotRooted,
    ZeroRowDivided,
    StepChangesBeforeRefusal,
    LastOfTies,
    LabelOffByOne,
    LastLabelNeverGiven,
    LastWordNotLabelled,
    LabelsAppended,
    LabelsClearedOnRefusal,
    LabelAllReversed,
    SequencesBleed,
    TraceAccumulates,
    TraceHasPreviousStates,
    InputGradientOfFirstSequence,
    WidthUnchecked,
    OuterGradientUnchecked,
    ShapesUnchecked,
    IdsUnchecked,
    LabelsUnchecked,
    PaddingAcceptedAsWord,
    OnlyFirstSentenceChecked,
    EmptyBatchAccepted,
    GradReplaced,
    ClearedBeforeChecks,
];

type Part<'a> = (&'static str, &'a dyn Fn(&Options) -> Report);

/// The first report with a failure: what is quick, then a few cases of each part in turn, in `f64` and `f32`,
/// then every part with all its cases.
fn judge(subject: &Subject) -> Option<Report> {
    let (double, single): (&dyn Network<f64>, &dyn Network<f32>) = (subject, subject);
    let name = double.name();
    let parts: [Part<'_>; 12] = [
        ("gradient", &|options| check_gradient(double, options)),
        ("agreement", &|options| check_agreement(double, options)),
        ("learner", &|options| check_learner(double, options)),
        ("tagger", &|options| check_tagger(double, options)),
        ("invariance", &|options| check_invariance(double, options)),
        ("recurrence", &|options| check_recurrence::<f64>(&name, subject, options)),
        ("recurrence-large", &|options| check_recurrence::<f64>(&name, subject, options)),
        ("agreement", &|options| check_agreement(single, options)),
        ("recurrence", &|options| check_recurrence::<f32>(&name, subject, options)),
        ("tagger", &|options| check_tagger(single, options)),
        ("learner", &|options| check_learner(single, options)),
        ("gradient", &|options| check_gradient(single, options)),
    ];
    let options = Options::new().cases(20).shrink(0);
    let quick: [Part<'_>; 4] = [
        ("doors", &|options| check_doors(double, options)),
        ("doors", &|options| {
            check_recurrence::<f64>(&name, subject, &options.clone().only("recurrence/doors"))
        }),
        ("subnormal", &|options| {
            check_recurrence::<f32>(&name, subject, &options.clone().only("recurrence/subnormal"))
        }),
        ("ties", &|options| check_tagger(double, &options.clone().only("tagger/ties-2"))),
    ];
    let first = quick.iter().map(|(_, part)| part(&options));
    let few = (0..8).flat_map(|case| parts.iter().map(move |(name, part)| (format!("{name}/{case}"), part)));
    let one_by_one = few.map(|(case, part)| part(&options.clone().only(case)));
    let whole = parts.iter().map(|(_, part)| part(&options));
    first.chain(one_by_one).chain(whole).find(|report| !report.failures.is_empty())
}

#[test]
fn the_suite_accepts_what_the_mutants_are_made_from() {
    if let Some(report) = judge(&Subject::new(Sound)) {
        panic!("\n{report}");
    }
}

#[test]
fn the_suite_rejects_every_mutant() {
    // A mutant that panics is a failure like any other; its message would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let mut accepted = Vec::new();
    for mutation in ALL {
        match judge(&Subject::new(mutation)) {
            Some(report) => {
                let failure = &report.failures[0];
                println!(
                    "{:<34} {} {:<18} {}",
                    format!("{mutation:?}"),
                    report.number,
                    failure.case,
                    failure.message
                );
            }
            None => accepted.push(mutation),
        }
    }
    let _ = std::panic::take_hook();
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}
