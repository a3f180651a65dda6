//! The state of the view, and how keys change it. It neither draws nor asks a lock.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rows::rows;
use super::window::Window;
use super::words::whole;
use crate::board::{Board, Card, State};

/// The state of the view.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// The lock that is chosen in the list.
    pub(super) chosen: Option<String>,
    pub(super) top: usize,
    page: usize,
    /// The lock that is shown alone.
    pub(super) opened: Option<String>,
    pub(super) window: Window,
    pub(super) has_help: bool,
    pub(super) question: Option<Question>,
    /// The outcome of the last action, shown until the next key.
    pub(super) message: Option<String>,
    pub(super) can_break: bool,
    pub(super) is_over: bool,
    /// Whether it is a still frame, without keys.
    pub(super) is_still: bool,
}

/// The question whether to break a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) lock: String,
    /// The token of the holding to break.
    pub(super) token: Option<u64>,
    /// Whether to break it even if its holder lives.
    pub(super) by_force: bool,
    /// The state of the lock.
    pub(super) state: State,
    pub(super) holder: String,
}

/// What a key asks for, beyond changes of the view.
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

    /// Returns which row is chosen, and scrolls the list so that it is visible.
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

    /// Handles a key.
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
        let shown = rows(board, &self.filter);
        let page = isize::try_from(self.page).unwrap_or(1);
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -page,
            KeyCode::PageDown => page,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            KeyCode::Enter | KeyCode::Right => {
                self.opened = self.place(&shown).map(|at| shown[at].lock.clone());
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
        if let Some(at) = self.place(&shown) {
            let at = at.saturating_add_signed(by).min(shown.len() - 1);
            self.chosen = Some(shown[at].lock.clone());
        }
    }

    /// Asks whether to break the lock that is shown or chosen.
    fn ask(&mut self, by_force: bool, board: &Board) {
        if !self.can_break {
            self.message = Some("these are recorded locks: none can be broken".into());
            return;
        }
        let shown = rows(board, &self.filter);
        let card = match &self.opened {
            Some(lock) => board.cards().find(|card| card.lock == *lock),
            None => self.place(&shown).map(|at| shown[at]),
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

    /// Returns a board with held locks of these names.
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
    fn the_chosen_lock_stays_chosen_when_others_appear() {
        let (few, many) = (board(&["b", "d"]), board(&["a", "b", "c", "d"]));
        let mut view = View::default();

        press(&mut view, &few, "j");
        press(&mut view, &many, "k\n");

        assert_eq!(view.opened.as_deref(), Some("c"));
    }

    #[test]
    fn a_filter_is_typed_and_cleared() {
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
    fn time_pauses_moves_back_and_resumes() {
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
    fn a_held_lock_is_broken_only_by_force_and_after_yes() {
        let board = board(&["jobs"]);
        let mut view = View { can_break: true, ..View::default() };

        assert_eq!(press(&mut view, &board, "b"), Action::Nothing);
        assert!(view.question.is_none() && view.message.is_some());
        assert_eq!(press(&mut view, &board, "Bn"), Action::Nothing);
        assert!(view.question.is_none());
        assert_eq!(press(&mut view, &board, "Bxj\n"), Action::Nothing);
        assert!(view.question.is_some());

        let action = press(&mut view, &board, "y");
        let Action::Break(question) = action else { panic!("{action:?}") };
        assert_eq!((&*question.lock, question.token, question.by_force), ("jobs", Some(0), true));
        assert_eq!(question.holder, "pid 7 on web1");
    }

    #[test]
    fn breaking_is_refused_where_no_locks_exist() {
        let board = board(&["jobs"]);
        let mut view = View::default();

        assert_eq!(press(&mut view, &board, "By"), Action::Nothing);

        assert!(view.question.is_none());
    }
}
