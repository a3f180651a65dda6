//! The state of a server, which it publishes over plain HTTP at a separate URL: whether it is healthy, and
//! its counters.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::Outcome;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns the body of the answer to a GET.
pub(crate) fn get(address: &str, path: &str) -> Outcome<String> {
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
    Ok(body.to_owned())
}

/// Returns the sum of a counter in a page of metrics, over all its labels that contain this text.
#[must_use]
pub(crate) fn sum(page: &str, name: &str, label: &str) -> f64 {
    let numbers = page.lines().filter_map(|line| {
        let (left, number) = line.rsplit_once(' ')?;
        let (found, labels) = left.split_once('{').unwrap_or((left, ""));
        (found == name && labels.contains(label)).then(|| number.parse::<f64>().ok())?
    });
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_counter_is_summed_over_the_labels_that_contain_the_text() {
        let page = "# HELP a b\na{m=\"Put\",s=\"x\"} 2\na{m=\"Put\",s=\"y\"} 3\na{m=\"Range\"} 7\nab 9\nc 1e+06\n";

        assert_eq!(sum(page, "a", "m=\"Put\""), 5.0);
        assert_eq!(sum(page, "a", ""), 12.0);
        assert_eq!(sum(page, "c", ""), 1e6);
        assert_eq!(sum(page, "b", ""), 0.0);
    }
}
