//! What systemd shows of checkd in one line.

/// `2 targets: 1 up, 1 down`, as `systemctl status` shows it.
pub fn status([unknown, up, down]: [usize; 3]) -> String {
    let total = unknown + up + down;
    if total == 0 {
        return "nobody watches any target".to_owned();
    }
    let parts: Vec<String> = [(up, "up"), (down, "down"), (unknown, "unknown")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let plural = if total == 1 { "" } else { "s" };
    format!("{total} target{plural}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_the_counts_in_words() {
        assert_eq!(status([0, 0, 0]), "nobody watches any target");
        assert_eq!(status([0, 1, 0]), "1 target: 1 up");
        assert_eq!(status([1, 5, 2]), "8 targets: 5 up, 2 down, 1 unknown");
    }
}
