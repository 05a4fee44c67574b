//! Which value holds for each key, and which layer it comes from.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::{DEFAULTS, KEYS, Overrides, Settings, key};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A flag.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// `config.default.toml`, or what follows from other keys.
    Default,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// What holds for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The key.
    pub key: &'static str,
    /// Its value, without a password; `None` where it is not set and nothing stands in for it.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Layer,
}

impl Settings {
    /// The same as [`Settings::load`], and what holds for each key, in the order of the default file.
    pub fn explain(
        flags: Overrides,
        file: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<(Self, Vec<Explained>)> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let layers = [
            (Layer::Flag, values(&flags)?),
            (Layer::Environment, values(&Overrides::from_environment(&environment)?)?),
            (Layer::File, values(&file.map(Overrides::from_file).transpose()?.unwrap_or_default())?),
            (Layer::Default, values(&Overrides::parse(DEFAULTS).context("config.default.toml")?)?),
        ];
        let settings = Self::load(flags, file, &environment)?;
        let explained = KEYS.map(|key| {
            let set = layers.iter().find_map(|(layer, values)| match values.get(key) {
                Some(Value::Null) | None => None,
                Some(Value::String(text)) => Some((*layer, text.clone())),
                Some(other) => Some((*layer, other.to_string())),
            });
            let source = set.as_ref().map_or(Layer::Default, |(layer, _)| *layer);
            match key {
                "database_url" => Explained { key, value: Some(settings.database.to_string()), source },
                "installation_key_file" => {
                    let source = if environment(key::VARIABLE).is_some() { Layer::Environment } else { source };
                    Explained { key, value: Some(settings.installation_key.to_string()), source }
                }
                _ => Explained { key, value: set.map(|(_, value)| value), source },
            }
        });
        Ok((settings, explained.to_vec()))
    }
}

fn values(layer: &Overrides) -> serde_json::Result<Value> {
    serde_json::to_value(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_says_where_its_value_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "listen = '127.0.0.1:1'\nlog_format = 'json'\nstale = 'serve'\n").unwrap();
        let environment = |name: &str| match name {
            "COUNTERSIGN_DATABASE_URL" => Some("postgres://u:s3cret@h/d".to_owned()),
            "COUNTERSIGN_LOG_FORMAT" => Some("human".to_owned()),
            "COUNTERSIGN_STALE" => Some(String::new()),
            _ => None,
        };
        let flags = Overrides { data_dir: Some("/d".into()), ..Overrides::default() };
        let (settings, explained) = Settings::explain(flags, Some(&path), &environment).unwrap();
        assert_eq!(settings.listen.port(), 1);
        let check = |key: &str, value: Option<&str>, source: Layer| {
            let found = explained.iter().find(|explained| explained.key == key).unwrap();
            assert_eq!((found.value.as_deref(), found.source), (value, source), "{key}");
        };
        check("data_dir", Some("/d"), Layer::Flag);
        check("database_url", Some("postgres://…@h/d"), Layer::Environment);
        check("installation_key_file", Some("/d/installation.key"), Layer::Default);
        check("listen", Some("127.0.0.1:1"), Layer::File);
        check("log_format", Some("human"), Layer::Environment);
        check("stale", Some("serve"), Layer::File);
        check("gate_unix", None, Layer::Default);
        check("secret_format", Some("scannable"), Layer::Default);
        assert_eq!(explained.iter().map(|explained| explained.key).collect::<Vec<_>>(), KEYS);
        assert!(!format!("{explained:?}").contains("s3cret"));
    }

    #[test]
    fn a_key_in_the_environment_is_named_and_not_shown() {
        let hex = "0123456789abcdef".repeat(4);
        let environment = |name: &str| (name == key::VARIABLE).then(|| hex.clone());
        let (_, explained) = Settings::explain(Overrides::default(), None, &environment).unwrap();
        let found = explained.iter().find(|explained| explained.key == "installation_key_file").unwrap();
        assert_eq!((found.value.as_deref(), found.source), (Some(key::VARIABLE), Layer::Environment));
    }
}
