//! The ways in which the subject can be broken, in families, and the orders in which it adds.

use elman::{Direction, Name};

/// The families, and the mutations that are in none of them.
macro_rules! mutations {
    ($($single:ident,)*) => {
        /// How an implementation is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mutation {
            /// Not at all.
            Sound,
            /// One tensor, of any shape that has it.
            Tensor(Name, Fault),
            /// The sequence: time, and the value that is fed back.
            Sequence(Step),
            /// The arithmetic of a cell's unit: the number of a fault in `units.rs`.
            Unit(usize),
            /// A step of Adam.
            Adam(AdamFault),
            /// Problems beyond a size.
            Beyond(Size, usize),
            /// Objects that live at once share what is theirs.
            MixedUp(Object),
            /// Every nth call is wrong in a last bit, counted over all objects.
            EveryCall(Object, usize),
            /// The calls of one object after the nth are wrong in a last bit.
            AfterCalls(Object, usize),
            /// A call while another thread is in one is wrong in a last bit.
            InThreads(Object),
            /// The learner stands still after so many steps.
            FrozenAfter(usize),
            MomentumAfter(usize),
            /// Learning rates are at most this.
            RateClipped(usize),
            $($single,)*
        }

        const SINGLES: &[Mutation] = &[$(Mutation::$single),*];
    };
}

mutations! {
    // Sums and precision.
    TailDropped,
    StatesInHalfPrecision,
    GradientInHalfPrecision,
    SubnormalWeightsFlushed,
    SubnormalInputsFlushed,
    SubnormalGradientsFlushed,
    ScoresFlushed,
    StatesFlushed,
    GradientFlushed,
    // Windows.
    WindowLate,
    WindowReversed,
    WordsReversed,
    PaddingIsFirstRow,
    PaddingReadAsZero,
    CentreWordOnly,
    PaddingGradientSkipped,
    RepeatedWordOverwritten,
    // Outputs and loss.
    BMissing,
    SoftmaxWithoutMaximum,
    SoftmaxTailDropped,
    SoftmaxRough,
    LargeScoresClipped,
    MeanForgotten,
    LossOfUnderflow,
    LossOfLogBase2,
    TargetMissing,
    LastStepOnly,
    WGradientOfPreviousState,
    // The Jordan network alone.
    JordanTakenForElman,
    JordanScoresFedBack,
    JordanSoftmaxForgotten,
    JordanSoftmaxDiagonal,
    JordanMeanForgotten,
    // Layers and directions.
    ReverseReadsForward,
    ReverseLeftReversed,
    DirectionsSwapped,
    SecondDirectionUnread,
    H0OfFirstLayer,
    LowerLayersFrozen,
    ReverseGradientForward,
    SecondDirectionsInputUntrained,
    // The CRF alone.
    CrfTransposed,
    CrfStartIgnored,
    CrfEndIgnored,
    CrfEndAtEachWord,
    CrfFirstTransitionMissing,
    CrfOfBestSequence,
    CrfWithoutMaximum,
    CrfLossOfMarginals,
    CrfPairsIndependent,
    CrfPairsOfLastWordMissing,
    CrfScoresOfSoftmax,
    CrfScoresOfForward,
    CrfLabelsOfMarginals,
    CrfLabelsGreedy,
    CrfLabelsWithoutEnd,
    CrfLabelsLastOfTies,
    CrfEmissionsOfSoftmax,
    // Batches.
    FirstSentenceOnly,
    LastSentenceDropped,
    SameSentenceOnce,
    ShareIgnored,
    TreeForgotten,
    TreeUnbalanced,
    GradNotCleared,
    // The learner.
    StepUphill,
    StepUnlikeApply,
    LearnerKeepsFirstWeights,
    LossAfterStep,
    LastParameterNotWritten,
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
    LabelAllReversed,
    LabelsClearedOnRefusal,
    ScorePlacesUnchecked,
    ScoreAllReversed,
    ScoresBeforeSoftmax,
    ForkForgets,
    PrepareForgets,
    // The recurrence alone.
    SequencesBleed,
    InitialIgnored,
    LastIsFirst,
    EqualLengths,
    DlastIgnored,
    DlastOfFirst,
    CarryLeftForNextSequence,
    InputGradientOfFirst,
    H0GradientOfFirst,
    H0GradientInAnyCase,
    TraceAccumulates,
    SequencesUnchecked,
    // The doors.
    LabelsUnchecked,
    PaddingAcceptedAsWord,
    OnlyFirstSentenceChecked,
    EmptyBatchAccepted,
    GradReplaced,
    ClearedBeforeChecks,
    ApplyUnchecked,
    RateUnchecked,
    PlacesUnchecked,
}
use Mutation::*;

/// An enum of faults, and the list of all of them.
macro_rules! faults {
    ($(#[$doc:meta])* $name:ident: $($(#[$fault_doc:meta])* $fault:ident,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$fault_doc])* $fault,)*
        }

        impl $name {
            const ALL: &[$name] = &[$($name::$fault),*];
        }
    };
}

faults! {
    /// A fault of a step of Adam.
    AdamFault:
    BiasKept,
    StepsFromZero,
    StepsNotCounted,
    StepsOfThisLearner,
    SecondOfFirst,
    RootForgotten,
    EpsilonInRoot,
    EpsilonIgnored,
    ClipIgnored,
    ClipEachEntry,
    ClipScalesUp,
    NormOfAllRows,
    DecayIgnored,
    DecayInGradient,
    DecayOfVectors,
    AllRowsMoved,
    MomentsOfAllRows,
    NormaliseIgnored,
    AlwaysNormalised,
}

faults! {
    /// A fault of one tensor's gradient, or of its update.
    Fault:
    Dropped,
    Doubled,
    Negated,
    /// By 0.1%.
    LargestEntry,
    LastEntry,
    LastSentence,
    LeftForNextCall,
    NotUpdated,
}

/// A fault of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    H0Ignored,
    H0EachTime,
    NotFedBack,
    TwoStepsBefore,
    StateOfLastCall,
    /// The state of each nth step is forgotten.
    ForgetsAfter(usize),
    WhTransposed,
    WhGradientOfOwnState,
    BhMissing,
    BhTwice,
    CarryMissing,
    CarryTwice,
    /// Backpropagation ends after so many steps.
    CarryStopsAfter(usize),
}

/// The sizes beyond which something may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Words,
    Sentences,
    Sequences,
    Rows,
    Vocab,
    Window,
    Hidden,
    Classes,
    /// Multiples, of the hidden size.
    Multiple,
}

/// The objects of which several may live at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Learner,
    Tagger,
    Trace,
    /// The forward pass of a recurrence, which has no object but the recurrence itself.
    Forward,
}

/// Every mutation: the families first.
pub(crate) fn all() -> Vec<Mutation> {
    use Fault::*;
    let names = [
        [Name::Emb, Name::Wx, Name::Wh, Name::W],
        [Name::Bh, Name::Bhn, Name::B, Name::H0],
        [Name::C0, Name::Transitions, Name::Start, Name::End],
    ];
    let names = names.into_iter().flatten();
    let tensors = names.flat_map(|name| Fault::ALL.iter().map(move |fault| Tensor(name, *fault)));
    let layered = [
        Name::Wx.of(0, Direction::Reverse),
        Name::H0.of(0, Direction::Reverse),
        Name::Wx.of(1, Direction::Forward),
        Name::Wh.of(1, Direction::Reverse),
        Name::Bh.of(1, Direction::Forward),
        Name::C0.of(1, Direction::Reverse),
    ];
    let layered =
        layered.into_iter().flat_map(|name| [Dropped, LastEntry, NotUpdated].map(|f| Tensor(name, f)));
    let steps = [
        Step::H0Ignored,
        Step::H0EachTime,
        Step::NotFedBack,
        Step::TwoStepsBefore,
        Step::StateOfLastCall,
        Step::ForgetsAfter(2),
        Step::ForgetsAfter(30),
        Step::WhTransposed,
        Step::WhGradientOfOwnState,
        Step::BhMissing,
        Step::BhTwice,
        Step::CarryMissing,
        Step::CarryTwice,
        Step::CarryStopsAfter(1),
        Step::CarryStopsAfter(3),
        Step::CarryStopsAfter(10),
    ];
    let sizes = [
        (Size::Words, 24),
        (Size::Words, 200),
        (Size::Sentences, 4),
        (Size::Sentences, 16),
        (Size::Sentences, 64),
        (Size::Sequences, 4),
        (Size::Sequences, 64),
        (Size::Rows, 96),
        (Size::Rows, 256),
        (Size::Vocab, 60),
        (Size::Window, 19),
        (Size::Hidden, 200),
        (Size::Hidden, 256),
        (Size::Classes, 200),
        (Size::Classes, 257),
        (Size::Multiple, 32),
        (Size::Multiple, 64),
        (Size::Multiple, 128),
        (Size::Multiple, 256),
    ];
    let adam = AdamFault::ALL.iter().copied().map(Adam);
    let objects = [Object::Learner, Object::Tagger, Object::Trace];
    let calls = objects.into_iter().chain([Object::Forward]).flat_map(|object| {
        let every = [200, 500].map(|n| EveryCall(object, n));
        let after = [8, 100, 180].map(|n| AfterCalls(object, n));
        every.into_iter().chain(after).chain([InThreads(object)])
    });
    let learners = [FrozenAfter(5), FrozenAfter(20), MomentumAfter(3), RateClipped(1), RateClipped(50)];
    let units = (0..super::units::FAULTS).map(Unit);
    tensors
        .chain(layered)
        .chain(steps.map(Sequence))
        .chain(units)
        .chain(sizes.map(|(size, limit)| Beyond(size, limit)))
        .chain(adam)
        .chain(objects.map(MixedUp))
        .chain(calls)
        .chain(learners)
        .chain(SINGLES.iter().copied())
        .collect()
}

/// The order in which sums are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// 1: one after the other; 0: pairwise; 32: in blocks of 32; else so many sums side by side, folded in halves.
    pub lanes: usize,
    pub fused: bool,
    pub reversed: bool,
    pub bias_last: bool,
    /// Kahan's.
    pub compensated: bool,
    /// Whether the products with wx and with wh are two sums.
    pub apart: bool,
}

const PLAIN: Order =
    Order { lanes: 1, fused: false, reversed: false, bias_last: false, compensated: false, apart: false };

/// Sound orders.
pub(crate) const ORDERS: [(&str, Order); 11] = [
    ("sequential", PLAIN),
    ("fused", Order { fused: true, ..PLAIN }),
    ("reversed, bias last", Order { reversed: true, bias_last: true, ..PLAIN }),
    ("apart", Order { apart: true, bias_last: true, ..PLAIN }),
    ("pairwise", Order { lanes: 0, ..PLAIN }),
    ("blocked", Order { lanes: 32, fused: true, ..PLAIN }),
    ("four lanes, bias last", Order { lanes: 4, bias_last: true, ..PLAIN }),
    ("eight lanes, fused", Order { lanes: 8, fused: true, ..PLAIN }),
    ("sixteen lanes", Order { lanes: 16, ..PLAIN }),
    ("two lanes, reversed, apart", Order { lanes: 2, reversed: true, apart: true, ..PLAIN }),
    ("compensated", Order { compensated: true, ..PLAIN }),
];
