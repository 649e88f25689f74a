//! What a configuration leaves open to strangers.

use super::{Config, Secret};
use crate::env::Address;

impl Config {
    /// What is allowed and still deserves a second look, a sentence each: listeners that other machines may reach
    /// although nothing asks who they are.
    pub fn warnings(&self) -> Vec<String> {
        let receiver = &self.receiver;
        let warnings = [
            bridge_open("listen", &self.listen),
            receiver_open("receiver.socket", &receiver.socket, &receiver.credentials),
            receiver_open("receiver.grpc", &receiver.grpc, &receiver.credentials),
        ];
        warnings.into_iter().flatten().collect()
    }
}

/// The warning for a bridge whose producers and operators may come from other machines. `key` names the setting.
pub fn bridge_open(key: &str, listen: &Address) -> Option<String> {
    (!listen.is_of_this_machine()).then(|| {
        format!(
            "{key}: whoever reaches {listen} may enqueue and operate; nothing asks who they are"
        )
    })
}

/// The warning for a receiver that executes what other machines send and asks for no secret. `key` names the setting.
pub fn receiver_open(key: &str, listen: &Address, credentials: &Secret) -> Option<String> {
    (credentials.0.is_empty() && !listen.is_of_this_machine()).then(|| {
        format!(
            "{key}: whoever reaches {listen} may have commands executed; `receiver.credentials` is not set"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> usize {
        let file = std::path::Path::new("x.toml");
        let config = crate::config::parse(file, text).expect("it is good");
        config.warnings().len()
    }

    #[test]
    fn what_other_machines_reach_is_warned_of_unless_a_secret_is_asked_for() {
        assert_eq!(Config::default().warnings(), Vec::<String>::new());
        for closed in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "localhost:1",
            "unix:/a",
        ] {
            assert_eq!(warned(&format!("listen = \"{closed}\"")), 0, "{closed}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "lamps.example:1"] {
            assert_eq!(warned(&format!("listen = \"{open}\"")), 1, "{open}");
            let receiver = format!("receiver.socket = \"{open}\"\nreceiver.grpc = \"{open}\"");
            assert_eq!(warned(&receiver), 2, "{open}");
            let asked = format!("{receiver}\nreceiver.credentials = \"hush\"");
            assert_eq!(warned(&asked), 0, "{open}");
        }
    }
}
