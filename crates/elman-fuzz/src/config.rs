//! The values that decide a training, as they stand in a file.

use elman_tagger::TrainConfig;
use elman_tagger::limits::check_shape;

/// What is accepted is within the limits, and comes back from its own text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = toml::from_str::<TrainConfig>(text) else { return };
    if config.check().is_err() {
        return;
    }
    check_shape(&config.shape(1, 1)).expect("an accepted config has a shape");
    assert!(config.learning_rate > 0.0 && config.epochs > 0 && config.batch > 0);
    let written = toml::to_string(&config).expect("an accepted config can be written");
    assert_eq!(toml::from_str::<TrainConfig>(&written).expect("and read"), config);
}
