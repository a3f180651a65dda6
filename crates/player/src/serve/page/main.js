// main.js: the connection to the server, and the start of everything.

const connection = { source: null, lastMessage: 0, again: null };

const showConnection = (is, word) => {
  const node = $('connection');
  if (node.dataset.is !== is) node.dataset.is = is;
  write($('connection-word'), word);
};

// The browser reconnects by itself, unless it was refused, or no messages arrive and it has not noticed.
const connect = () => {
  clearTimeout(connection.again);
  connection.source?.close();
  const source = new EventSource('events');
  connection.source = source;
  connection.lastMessage = performance.now();
  const listen = (kind, act) => source.addEventListener(kind, (event) => {
    connection.lastMessage = performance.now();
    act(JSON.parse(event.data));
  });
  listen('all', (all) => show(all, true));
  listen('changes', (changes) => show(changes, false));
  listen('clock', (now) => clock.sync(now));
  listen('over', (now) => {
    world.isOver = true;
    clock.stop(now);
    showState();
    dirty();
  });
  source.onerror = () => {
    showConnection('lost', 'connection lost, trying again');
    if (clock.stopped === null && clock.offset !== null) clock.stop();
    for (const lock of world.locks.values()) if (lock.card) moveBar(lock.card, cardOf(lock));
    if (source.readyState === EventSource.CLOSED) connection.again = setTimeout(connect, 2000);
  };
};

const showState = () => {
  if (world.isOver) showConnection('over', 'end of recording');
  else if (world.isAway) showConnection('away', 'etcd servers unreachable');
  else showConnection('live', 'live');
};

const show = (what, isAll) => {
  const changed = take(what, isAll);
  if (isAll) {
    write($('title'), clean(world.title));
    $('title').title = clean(world.title);
    $('back-in-time').min = String(-world.history);
    resetCards();
    $('log').replaceChildren();
    $('log-pane').hidden = true;
    view.chosen = null;
    view.version = -1;
  }
  if (what.forgotten.length) dropCards();
  showState();
  for (const lock of changed) {
    drawCard(lock);
    if (!isAll) announceChange(lock);
  }
  for (const [at, text] of what.said) {
    log(at, clean(text).replace(/\\u\{a\}/g, '\n'));
    announce(clean(text));
  }
  if (isAll) sortOut();
  else if (changed.length) isUnsorted = true;
  view.isDirty ||= true;
};
let isUnsorted = true;

// Shows one lock or all: as cards, or with `hasLanes` as lanes; a narrow window has room for only one of the
// two.
const showLock = (name, hasLanes) => {
  cards.chosen = name;
  view.follows = true;
  view.chosen = null;
  write($('of'), name === null ? 'All locks' : clean(name));
  $('main').dataset.shows = hasLanes ? 'lanes' : 'locks';
  $('scroller').scrollTop = view.scrolledTo = 0;
  sortOut();
  changed();
};

const chooseLock = (name, hasLanes = name !== null) => {
  const address = name === null ? location.pathname : `#${encodeURIComponent(name)}`;
  history.pushState({ hasLanes }, '', address);
  showLock(name, hasLanes);
};

// Shows the lock that the address names, after a link, a typed address, or the back button.
const readAddress = () => {
  const text = location.hash.slice(1);
  let name = text || null;
  try {
    name = text ? decodeURIComponent(text) : null;
  } catch {
    // The text is then taken as the name; no lock has it.
  }
  const hasLanes = history.state?.hasLanes ?? name !== null;
  if (name === cards.chosen && hasLanes === ($('main').dataset.shows === 'lanes')) return;
  showLock(name, hasLanes);
};

const filterBy = (text) => {
  if ($('filter').value !== text) $('filter').value = text;
  cards.text = text.trim().toLowerCase();
  sortOut();
  changed();
};

const THEMES = { auto: ['◐', 'Colours: system'], light: ['☀', 'Colours: light'], dark: ['☾', 'Colours: dark'] };
const darkness = matchMedia('(prefers-color-scheme: dark)');
const theme = { is: 'auto' };
const showTheme = () => {
  const [glyph, word] = THEMES[theme.is];
  write($('theme'), glyph);
  $('theme').setAttribute('aria-label', word);
  $('theme').title = `${word} (D)`;
  const isDark = theme.is === 'dark' || (theme.is === 'auto' && darkness.matches);
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  readColours();
  drawLegend();
  changed();
};
const nextTheme = () => {
  const names = Object.keys(THEMES);
  theme.is = names[(names.indexOf(theme.is) + 1) % names.length];
  try {
    localStorage.setItem('lockbydir-theme', theme.is);
  } catch {
    // The theme is then not remembered.
  }
  showTheme();
};

const toggleTable = () => {
  view.isTable = !view.isTable;
  $('as-table').setAttribute('aria-pressed', String(view.isTable));
  $('table').hidden = !view.isTable;
  $('scroller').hidden = view.isTable;
  $('axis').hidden = view.isTable;
  $('tip').hidden = true;
  changed();
  drawTable();
};

const leaveLock = () => {
  const name = cards.chosen;
  chooseLock(null);
  if (name !== null) cards.made.get(name)?.card.focus();
};

const listen = () => {
  cards.onChoose = (name) => {
    if (cards.chosen === name) {
      leaveLock();
      return;
    }
    chooseLock(name);
    if (matchMedia('(max-width: 860px)').matches) $('scroller').focus({ preventScroll: true });
  };
  $('back').addEventListener('click', leaveLock);
  $('all').addEventListener('click', () => chooseLock(null, true));
  $('filter').addEventListener('input', () => filterBy($('filter').value));
  // Its address names an element of the page, and would be taken for the name of a lock.
  document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault();
    $('scroller').focus();
  });
  addEventListener('popstate', readAddress);
  addEventListener('hashchange', readAddress);
  $('pause').addEventListener('click', togglePause);
  $('live').addEventListener('click', goLive);
  $('in').addEventListener('click', () => zoomBy(-1));
  $('out').addEventListener('click', () => zoomBy(1));
  $('as-table').addEventListener('click', toggleTable);
  $('theme').addEventListener('click', nextTheme);
  $('help').addEventListener('click', () => $('keys').showModal());
  $('back-in-time').addEventListener('input', () => {
    const back = Number($('back-in-time').value);
    if (back === 0) goLive();
    else showUntil(clock.now() + back);
  });
  const keys = {
    ' ': togglePause, l: goLive, '+': () => zoomBy(-1), '=': () => zoomBy(-1), '-': () => zoomBy(1),
    t: toggleTable, d: nextTheme, '/': () => $('filter').focus(), '?': () => $('keys').showModal(),
    Escape: () => {
      $('tip').hidden = true;
      if (view.chosen) {
        view.chosen = null;
        dirty();
      } else leaveLock();
    },
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $('keys').open) return;
    const isTyped = event.target.matches('input[type=search]');
    if (isTyped) {
      // While an input method composes letters, Escape ends the composition.
      if (event.key !== 'Escape' || event.isComposing) return;
      event.preventDefault();
      filterBy('');
      event.target.blur();
      return;
    }
    if (event.shiftKey && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
      event.preventDefault();
      showUntil(edge() + (event.key === 'ArrowLeft' ? -1 : 1) * view.zoom * 0.2);
      return;
    }
    if (event.key === ' ' && event.target.matches('button, input, summary')) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  darkness.addEventListener('change', showTheme);
};

const eachFrame = () => {
  frame();
  requestAnimationFrame(eachFrame);
};

const eachQuarter = () => {
  const now = clock.now();
  if (now !== null) write($('clock'), clockTime(now));
  if (isUnsorted) {
    isUnsorted = false;
    sortOut();
  }
  tickCards();
  tickTip();
  tickAnnouncements();
  if (performance.now() - connection.lastMessage > 8000 && connection.source.readyState === EventSource.OPEN) connect();
};

const begin = () => {
  try {
    theme.is = localStorage.getItem('lockbydir-theme') in THEMES ? localStorage.getItem('lockbydir-theme') : 'auto';
  } catch {
    theme.is = 'auto';
  }
  if (innerWidth < 600) view.zoom = 30;
  makeStates();
  listenToLanes();
  listen();
  showTheme();
  readAddress();
  connect();
  requestAnimationFrame(eachFrame);
  setInterval(eachQuarter, 250);
  setInterval(() => {
    forget();
    // What is shown while paused may have become too old.
    if (!isLive()) dirty();
    drawStale();
    drawTable();
    showTools();
  }, 1000);
};
begin();
