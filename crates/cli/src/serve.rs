//! `serve`: a page in a browser that shows locks live.

use std::path::PathBuf;

use clap::ValueHint;
use lockbydir::engine::{is_url, shown};
use lockbydir_player::Live;
use lockbydir_player::serve::{self, Options};

use crate::exit::Failure;
use crate::output;

pub(crate) const HELP: &str = "\
Examples:
  lockbydir serve /var/lock/jobs
  lockbydir serve --listen 127.0.0.1:0
  LOCKBYDIR_SERVE_TOKEN=$(openssl rand -hex 16) lockbydir serve --listen 0.0.0.0:7654 --host web1:7654

From elsewhere it is best reached by a tunnel, which encrypts:
  ssh -L 7654:127.0.0.1:7654 web1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder, or a URL like etcd://host:2379/team [default: the current directory]
    #[arg(env = "LOCKBYDIR_DIR", default_value = ".", hide_default_value = true, hide_env = true, value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Write down what happens, as JSON lines, into a new file, for `play --replay`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where a page is served, and for whom.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where to listen; port 0 is any that is free. One that other machines can reach wants --token
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7654")]
    listen: String,
    /// Show it only to who opens it with ?token=TOKEN once, or sends it as `Authorization: Bearer
    /// TOKEN`: at least 16 letters, digits and -._~. What is on a command line is seen in `ps`:
    /// prefer the environment
    #[arg(long, value_name = "TOKEN", env = "LOCKBYDIR_SERVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Another name by which it is reached, such as web1:7654; may be given again
    #[arg(long = "host", value_name = "NAME[:PORT]")]
    hosts: Vec<String>,
}

impl Place {
    pub(crate) fn options(&self, title: String) -> Options {
        Options {
            listen: self.listen.clone(),
            token: self.token.clone(),
            hosts: self.hosts.clone(),
            title,
            linger: None,
        }
    }
}

/// Says at once where the page is.
pub(crate) fn tell(url: &str) {
    // Who does not listen may look at the page all the same; the page does not wait for them.
    let _ = output::print_while(format!("{url}\n"), || false);
}

pub(crate) fn serve(args: &Args) -> Result<u8, Failure> {
    let source = Live::of(&args.dir)?;
    let folder = match is_url(&args.dir) {
        true => args.dir.clone(),
        false => std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()),
    };
    let source = crate::play::recorded(Box::new(source), args.record.as_deref())?;
    serve::serve(source, args.place.options(shown(&folder)), tell)?;
    Ok(0)
}
