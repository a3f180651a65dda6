//! The terminal while the player has it: taken, drawn on, and restored in every case.

use std::io::{self, Stdout, Write, stdout};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::{Position, Rect};

/// Whether the player has the terminal now.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// The panic hook from before: it must not print to the alternate screen, which vanishes.
    hook: Option<Arc<Hook>>,
}

fn take() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::SeqCst);
    execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide)
}

/// Restores the terminal, if that has not happened yet.
pub(super) fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // These fail if the terminal is gone; then nobody can read an error.
        let _ = execute!(stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        let hook: Arc<Hook> = Arc::new(panic::take_hook());
        let before = hook.clone();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        let mut screen = Screen { terminal, hook: Some(hook) };
        take()?;
        screen.clear()?;
        Ok(screen)
    }

    /// Draws a frame, unless the terminal has been restored.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer, Rect)) -> io::Result<()> {
        if !IS_TAKEN.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.draw(|frame| {
            let area = frame.area();
            draw(frame.buffer_mut(), area);
        })?;
        Ok(())
    }

    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        self.terminal.size().map(|size| (size.width, size.height))
    }

    /// Makes the next frame be drawn as a whole, not only what has changed.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` queries the cursor position, which not every terminal answers.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Restores the terminal while something else runs.
    pub(super) fn without(&mut self, something: impl FnOnce()) -> io::Result<()> {
        give_back();
        something();
        self.again()
    }

    /// Takes the terminal again after other programs may have used it.
    pub(super) fn again(&mut self) -> io::Result<()> {
        give_back();
        take()?;
        stdout().flush()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        if let Some(hook) = self.hook.take()
            && !std::thread::panicking()
        {
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}
