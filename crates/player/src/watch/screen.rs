//! The terminal while it is ours: taken, drawn on, and given back as it was, whatever happens.

use std::io::{self, Stdout, Write, stdout};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::{Position, Rect};

/// Is it ours now?
static IS_OURS: AtomicBool = AtomicBool::new(false);

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// What a panic did before: it must not speak to a screen that vanishes.
    hook: Option<Arc<Hook>>,
}

fn take() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    IS_OURS.store(true, Ordering::SeqCst);
    execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide)
}

/// Gives the terminal back as it was, if it is not already.
pub(super) fn give_back() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        // If it is gone, there is nobody to tell.
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

    /// Draws a frame, unless the terminal was given back.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer, Rect)) -> io::Result<()> {
        if !IS_OURS.load(Ordering::SeqCst) {
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

    /// Draws all of the next frame, not only what is different.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks where the cursor is, which not every terminal answers.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Gives the terminal back while something else is done.
    pub(super) fn without(&mut self, something: impl FnOnce()) -> io::Result<()> {
        give_back();
        something();
        self.again()
    }

    /// Takes the terminal again after others may have had it.
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
