// words.js: how things are said. Holds no state. What comes from others passes `clean`, and goes
// into the page as text alone.
'use strict';

const $ = (id) => document.getElementById(id);

// What could hide, turn or break a line is written as its number.
const clean = (text) => {
  const said = String(text ?? '').replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  return said.length > 300 ? said.slice(0, 299) + '…' : said;
};

const element = (kind, text, attributes = {}) => {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

// Writes only what is different: most is not.
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const duration = (s) => {
  if (!(s >= 0)) s = 0;
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 0.1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  const both = (large, one, small, other) => (small ? `${large} ${one} ${small} ${other}` : `${large} ${one}`);
  if (s < 7200) return both(Math.floor(s / 60), 'min', Math.floor(s % 60), 's');
  return both(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
};

const two = (n) => String(n).padStart(2, '0');
const clockTime = (at, digits = 0) => {
  const date = new Date(at * 1000);
  const plain = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return digits ? `${plain}.${String(date.getMilliseconds()).padStart(3, '0').slice(0, digits)}` : plain;
};

const rate = (n) => (n >= 10 ? String(Math.round(n)) : n.toFixed(1));
const count = (n, one, many = one + 's') => `${n} ${n === 1 ? one : many}`;

// Who somebody is, for people: what it wants the lock for, else what it runs, else its number.
const called = (who) => clean(who.label || who.command || (who.pid ? `pid ${who.pid}` : 'a key'));
const place = (who) => (who.pid ? `pid ${who.pid} @ ` : '') + clean(who.host);

const STATES = {
  held: { glyph: '●', word: 'held' },
  free: { glyph: '○', word: 'free' },
  expired: { glyph: '◷', word: 'expired' },
  dead: { glyph: '✕', word: 'dead' },
  bare: { glyph: '■', word: 'bare' },
  foreign: { glyph: '?', word: 'foreign' },
};

const KINDS = {
  waiting: 'queues',
  holding: 'holds the lock',
  forgotten: 'held, but was not renewed',
  expired: 'expired: its time is over, its lock still there',
  dead: 'dead, its lock still there',
};
// The same when it is over.
const WAS = { waiting: 'waited in the queue', holding: 'held the lock', forgotten: 'held, but was not renewed', expired: 'had let it expire', dead: 'was dead' };

const ENDS = {
  served: 'got the lock',
  'gave-up': 'gave up',
  died: 'died',
  gone: 'waits no more; why was not seen',
  released: 'released it',
  expired: 'let it expire',
  taken: 'another took it over',
  broken: 'somebody removed the lock',
  renewed: 'renewed after all',
};

const HOWS = {
  before: 'held before we looked',
  free: 'found free',
  'handed-over': 'handed over in the queue',
  'after-expiry': 'taken over after expiry',
  'after-death': 'taken over after a death',
};

