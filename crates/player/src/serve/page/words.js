// words.js: texts. Holds no state. Text from other processes passes `clean`, and is put into the page only as
// text, never as HTML.
'use strict';

const $ = (id) => document.getElementById(id);

// Writes characters that could hide, reverse or break a line as their numbers.
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

// Writes only changed text: most is unchanged.
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

// Returns the name of a contender for people: its label, otherwise its command, otherwise its process id.
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
  expired: 'expired, its lock still exists',
  dead: 'dead, its lock still exists',
};
// The same for spans that have ended.
const WAS = { waiting: 'waited in the queue', holding: 'held the lock', forgotten: 'held, but was not renewed', expired: 'had let it expire', dead: 'was dead' };

const ENDS = {
  served: 'got the lock',
  'gave-up': 'gave up',
  died: 'died',
  gone: 'stopped waiting (reason not seen)',
  released: 'released it',
  expired: 'let it expire',
  taken: 'another took it over',
  broken: 'somebody removed the lock',
  renewed: 'renewed after all',
};

const HOWS = {
  before: 'held before the view started',
  free: 'found free',
  'handed-over': 'handed over in the queue',
  'after-expiry': 'taken over after expiry',
  'after-death': 'taken over after a death',
};

