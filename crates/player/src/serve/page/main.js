// main.js: the connection to the server, and everything put to work.

const connection = { source: null, heard: 0, again: null };

const showConnection = (is, word) => {
  const node = $('connection');
  if (node.dataset.is !== is) node.dataset.is = is;
  write($('connection-word'), word);
};

// The browser connects again by itself, unless it was refused; or nothing comes and it has not
// noticed.
const connect = () => {
  clearTimeout(connection.again);
  connection.source?.close();
  const source = new EventSource('events');
  connection.source = source;
  connection.heard = performance.now();
  const listen = (kind, act) => source.addEventListener(kind, (event) => {
    connection.heard = performance.now();
    act(JSON.parse(event.data));
  });
  listen('all', (all) => show(all, true));
  listen('changes', (changes) => show(changes, false));
  listen('clock', (now) => clock.hear(now));
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
    if (!isAll) tellOf(lock);
  }
  for (const [at, text] of what.said) {
    log(at, clean(text).replace(/\\u\{a\}/g, '\n'));
    tell(clean(text));
  }
  if (isAll) sortOut();
  else if (changed.length) isUnsorted = true;
  view.isDirty ||= true;
};
let isUnsorted = true;

// One lock, or all: as cards, or `hasLanes` as lanes, of which a narrow window has room for one.
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

// The address names the lock: as a link does, somebody who types, or the browser's way back.
const readAddress = () => {
  const text = location.hash.slice(1);
  let name = text || null;
  try {
    name = text ? decodeURIComponent(text) : null;
  } catch {
    // Then it is a name as it stands; there will be no such lock.
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

const THEMES = { auto: ['◐', 'Colours: as the system is'], light: ['☀', 'Colours: light'], dark: ['☾', 'Colours: dark'] };
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
    // Then it is not remembered.
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
  // Its address names a place of the page, and would be taken for that of a lock.
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
      // While letters are composed it ends that.
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
  tickTold();
  if (performance.now() - connection.heard > 8000 && connection.source.readyState === EventSource.OPEN) connect();
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
    // What stands still may be forgotten.
    if (!isLive()) dirty();
    drawStale();
    drawTable();
    showTools();
  }, 1000);
};
begin();
