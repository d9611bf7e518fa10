use elman::{Error, Network};

use crate::Model;

/// A tag with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored<'a> {
    /// The tag.
    pub tag: &'a str,
    /// Its probability, in [0, 1].
    pub score: f32,
}

/// For each word the `count` most probable tags, the most probable first; of equally probable ones the first
/// label comes first. Nothing for no words.
///
/// The first is the tag that [`Pipeline`](crate::Pipeline) gives, unless two tags are so nearly equal that
/// their probabilities round to the same number.
///
/// # Errors
/// The network's errors.
pub fn best_tags<'a>(
    model: &'a Model,
    network: &dyn Network<f32>,
    words: &[impl AsRef<str>],
    count: usize,
) -> Result<Vec<Vec<Scored<'a>>>, Error> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let s = network.predict(model.params(), &model.vocabulary().sentence(words)?)?;
    Ok(s.rows()
        .into_iter()
        .map(|row| {
            let mut all: Vec<Scored<'a>> =
                model.labels().tags().zip(row).map(|(tag, score)| Scored { tag, score: *score }).collect();
            // A stable sort keeps the order of the labels among equals.
            all.sort_by(|a, b| b.score.total_cmp(&a.score));
            all.truncate(count);
            all
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use elman_reference::Reference;

    use super::*;
    use crate::{Pipeline, TrainConfig, Trainer, travel};

    #[test]
    fn the_best_tags_are_sorted_and_begin_with_the_pipelines() {
        let (train, dev) = (travel::corpus(1, 80), travel::corpus(2, 20));
        let network = Reference::new();
        let config = TrainConfig { hidden: 12, embed: 8, epochs: 2, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        trainer.run_epoch(&mut |_| {}).unwrap();
        let model = trainer.into_model();
        let mut pipeline = Pipeline::new(&model, &network).unwrap();
        for sentence in &dev {
            let best = best_tags(&model, &network, sentence.words(), 3).unwrap();
            let tags: Vec<&str> = best.iter().map(|word| word[0].tag).collect();
            assert_eq!(tags, pipeline.tag(sentence.words()).unwrap());
            assert!(best.iter().all(|word| word.len() == 3 && word.is_sorted_by(|a, b| a.score >= b.score)));
            let all = best_tags(&model, &network, sentence.words(), usize::MAX).unwrap();
            for word in all {
                assert_eq!(word.len(), model.labels().size());
                assert!((word.iter().map(|s| s.score).sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
        assert!(best_tags(&model, &network, &[""; 0], 3).unwrap().is_empty());
    }
}
