//! What the user looks at, and what a key does to that. Draws nothing, and asks no lock.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::lanes::Window;
use super::list;
use super::words::whole;
use crate::board::{Board, Card, State};

/// What the user looks at.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// The name of the lock that is chosen in the list.
    pub(super) chosen: Option<String>,
    pub(super) top: usize,
    page: usize,
    /// The lock that is looked at alone.
    pub(super) opened: Option<String>,
    pub(super) window: Window,
    pub(super) has_help: bool,
    pub(super) question: Option<Question>,
    /// What came of the last deed; until the next key.
    pub(super) message: Option<String>,
    pub(super) can_break: bool,
    pub(super) is_over: bool,
    /// Nobody presses keys: it is a picture.
    pub(super) is_still: bool,
}

/// Is this lock to be broken?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) lock: String,
    /// The holding that is meant.
    pub(super) token: Option<u64>,
    /// Whoever holds it, living or not.
    pub(super) by_force: bool,
    /// How it is.
    pub(super) state: State,
    pub(super) holder: String,
}

/// What is to be done about a key, beyond looking at something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    Suspend,
    Redraw,
    Break(Question),
}

impl View {
    pub(super) fn of(title: String, opened: Option<String>) -> View {
        View { title, opened, ..View::default() }
    }

    /// Which row is chosen; the list is scrolled so that it is seen.
    pub(super) fn chosen_among(&mut self, rows: &[&Card], page: usize) -> Option<usize> {
        self.page = page.max(1);
        let chosen = self.place(rows)?;
        self.top = self.top.clamp((chosen + 1).saturating_sub(self.page), chosen);
        self.top = self.top.min(rows.len().saturating_sub(self.page));
        Some(chosen)
    }

    fn place(&self, rows: &[&Card]) -> Option<usize> {
        let known = rows.iter().position(|card| Some(&card.lock) == self.chosen.as_ref());
        known.or((!rows.is_empty()).then_some(0))
    }

    /// This key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent, board: &Board) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                KeyCode::Char('z') => Action::Suspend,
                KeyCode::Char('l') => Action::Redraw,
                _ => Action::Nothing,
            };
        }
        if let Some(question) = self.question.take() {
            return match key.code {
                KeyCode::Char('y' | 'Y') => Action::Break(question),
                KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                    self.message = Some(format!("{} was left as it is", question.lock));
                    Action::Nothing
                }
                _ => {
                    self.question = Some(question);
                    Action::Nothing
                }
            };
        }
        if std::mem::take(&mut self.has_help) {
            return Action::Nothing;
        }
        if self.is_typing {
            self.typed(key.code);
            return Action::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.has_help = true,
            KeyCode::Char(key @ ('b' | 'B')) => self.ask(key == 'B', board),
            code if self.opened.is_some() => self.in_lock(code, board.now()),
            code => self.in_list(code, board),
        }
        Action::Nothing
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    fn in_lock(&mut self, code: KeyCode, now: f64) {
        match code {
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Enter => {
                self.chosen = self.opened.take();
                self.window = Window::default();
            }
            KeyCode::Char(' ') => self.window.pause(now),
            KeyCode::Char('+' | '=') => self.window.zoom(true),
            KeyCode::Char('-') => self.window.zoom(false),
            KeyCode::Left => self.window.shift(-1.0, now),
            KeyCode::Right => self.window.shift(1.0, now),
            KeyCode::End => self.window.live(),
            KeyCode::Up | KeyCode::Char('k') => self.window.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.window.scroll(1),
            KeyCode::PageUp => self.window.scroll(-self.window.page()),
            KeyCode::PageDown => self.window.scroll(self.window.page()),
            KeyCode::Home => self.window.scroll(isize::MIN),
            _ => {}
        }
    }

    fn in_list(&mut self, code: KeyCode, board: &Board) {
        let rows = list::rows(board, &self.filter);
        let page = isize::try_from(self.page).unwrap_or(1);
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -page,
            KeyCode::PageDown => page,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            KeyCode::Enter | KeyCode::Right => {
                self.opened = self.place(&rows).map(|at| rows[at].lock.clone());
                return;
            }
            KeyCode::Char('/') => {
                self.is_typing = true;
                return;
            }
            KeyCode::Esc => {
                self.filter.clear();
                return;
            }
            _ => return,
        };
        if let Some(at) = self.place(&rows) {
            let at = at.saturating_add_signed(by).min(rows.len() - 1);
            self.chosen = Some(rows[at].lock.clone());
        }
    }

    /// Asks whether the lock that is looked at is to be broken.
    fn ask(&mut self, by_force: bool, board: &Board) {
        if !self.can_break {
            self.message = Some("there are no real locks here that could be broken".into());
            return;
        }
        let rows = list::rows(board, &self.filter);
        let card = match &self.opened {
            Some(lock) => board.cards().find(|card| card.lock == *lock),
            None => self.place(&rows).map(|at| rows[at]),
        };
        let Some(card) = card else { return };
        let lock = card.lock.clone();
        match (card.state, &card.holder) {
            (State::Held, _) if !by_force => {
                self.message =
                    Some(format!("the holder of {lock} lives; press B to break it anyway"));
            }
            (State::Foreign, _) => {
                self.message = Some(format!("{lock} is not ours to break; see `lockbydir status`"));
            }
            (state @ State::Bare, _) => {
                let holder = "holder unknown".to_owned();
                self.question = Some(Question { lock, token: None, by_force, state, holder });
            }
            (State::Free, _) | (_, None) => self.message = Some(format!("{lock} is free")),
            (state, Some(holder)) => {
                let (token, holder) = (card.token, whole(holder));
                self.question = Some(Question { lock, token, by_force, state, holder });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Contender, Event, How, What};

    /// Locks that are held, by their names.
    fn board(names: &[&str]) -> Board {
        let mut board = Board::new(300.0);
        for (nth, name) in names.iter().enumerate() {
            let by = Contender {
                id: name.to_string(),
                host: "web1".into(),
                pid: Some(7),
                command: None,
                label: None,
                since: None,
            };
            let what = What::Acquired {
                by,
                token: nth as u64,
                timeout_s: 10.0,
                remaining_s: 10.0,
                how: How::Free,
            };
            board.apply(&Event { at: 1000.0, lock: name.to_string(), what });
        }
        board
    }

    fn press(view: &mut View, board: &Board, keys: &str) -> Action {
        let codes = keys.chars().map(|key| match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '<' => KeyCode::Left,
            '>' => KeyCode::Right,
            key => KeyCode::Char(key),
        });
        codes.map(|code| view.key(code.into(), board)).last().unwrap()
    }

    #[test]
    fn the_lock_that_is_chosen_stays_so_when_others_come() {
        let (few, many) = (board(&["b", "d"]), board(&["a", "b", "c", "d"]));
        let mut view = View::default();

        press(&mut view, &few, "j");
        press(&mut view, &many, "k\n");

        assert_eq!(view.opened.as_deref(), Some("c"));
    }

    #[test]
    fn a_filter_is_typed_and_taken_back() {
        let board = board(&["backup", "bed", "site"]);
        let mut view = View::default();

        press(&mut view, &board, "/qe");
        assert_eq!((&*view.filter, view.is_typing), ("qe", true));
        view.key(KeyCode::Backspace.into(), &board);
        view.key(KeyCode::Backspace.into(), &board);
        press(&mut view, &board, "Be\n\n");
        assert_eq!(view.opened.as_deref(), Some("bed"));

        press(&mut view, &board, "\u{1b}\u{1b}");
        assert_eq!((&*view.filter, view.opened), ("", None));
    }

    #[test]
    fn time_stands_still_goes_back_and_on_again() {
        let board = board(&["jobs"]);
        let mut view = View::of(String::new(), Some("jobs".into()));

        press(&mut view, &board, " ");
        assert!(view.window.is_paused());
        press(&mut view, &board, " ");
        assert!(!view.window.is_paused());
        press(&mut view, &board, "<<");
        assert!(view.window.is_paused());
        press(&mut view, &board, ">>");
        assert!(!view.window.is_paused());
    }

    #[test]
    fn a_living_holders_lock_is_asked_about_only_by_force_and_only_yes_breaks_it() {
        let board = board(&["jobs"]);
        let mut view = View { can_break: true, ..View::default() };

        assert_eq!(press(&mut view, &board, "b"), Action::Nothing);
        assert!(view.question.is_none() && view.message.is_some());
        assert_eq!(press(&mut view, &board, "Bn"), Action::Nothing);
        assert!(view.question.is_none());
        assert_eq!(press(&mut view, &board, "Bxj\n"), Action::Nothing);
        assert!(view.question.is_some());

        let deed = press(&mut view, &board, "y");
        let Action::Break(question) = deed else { panic!("{deed:?}") };
        assert_eq!((&*question.lock, question.token, question.by_force), ("jobs", Some(0), true));
        assert_eq!(question.holder, "pid 7 on web1");
    }

    #[test]
    fn where_there_are_no_real_locks_nothing_is_asked() {
        let board = board(&["jobs"]);
        let mut view = View::default();

        assert_eq!(press(&mut view, &board, "By"), Action::Nothing);

        assert!(view.question.is_none());
    }
}
