// The worker for proper-lockfile: `worker.js`. README.md in this folder describes the protocol.
//
// Its defaults are no retries, a lock that is stale after 10 s, and an update every 5 s. It waits only if
// retries are configured: every 50 ms here, without end.

'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');

const library = path.join(process.env.RIVALS_NODE_MODULES, 'proper-lockfile');
const lockfile = require(library);

const RETRIES = { forever: true, retries: 1, factor: 1, minTimeout: 50, maxTimeout: 50 };

const now = () => process.hrtime.bigint();
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const say = (line) => process.stdout.write(`${line}\n`);

let file;
let release;

const acquire = (options) => lockfile.lock(file, { retries: RETRIES, ...options });

async function cost(turns) {
    const times = [];
    for (let turn = 0; turn < turns; turn += 1) {
        const start = now();
        const end = await acquire();
        await end();
        times.push(Number(now() - start));
    }
    times.sort((a, b) => a - b);
    return `cost ${times[Math.floor(turns / 2)]}`;
}

async function hammer(start, end) {
    let count = 0;
    let longest = 0n;
    await sleep(Number(start - now()) / 1e6);
    for (;;) {
        const asked = now();
        if (asked >= end) break;
        const done = await acquire();
        const got = now();
        if (got - asked > longest) longest = got - asked;
        await done();
        if (got < end) count += 1;
    }
    return `hammered ${count} ${longest} 0`;
}

async function tryAt(at, hold, shared) {
    await sleep(Math.max(0, Number(at - now()) / 1e6 - 2));
    while (now() < at);
    let done;
    try {
        done = await lockfile.lock(file, { onCompromised: () => {} });
    } catch (error) {
        if (error.code === 'ELOCKED') return 'tried out';
        process.stderr.write(`${error}\n`);
        return 'tried out';
    }
    let alone = true;
    try {
        fs.closeSync(fs.openSync(shared, 'wx'));
    } catch (error) {
        alone = false;
    }
    await sleep(hold);
    if (alone) fs.unlinkSync(shared);
    // After an overlap the release may fail; the count shows the overlap.
    await done().catch((error) => process.stderr.write(`${error}\n`));
    return alone ? 'tried in' : 'tried overlap';
}

async function answer(line) {
    const words = line.split(' ');
    switch (words[0]) {
        case 'path':
            file = words[1];
            // It only locks files that exist.
            fs.writeFileSync(file, '', { flag: 'a' });
            return 'ok';
        case 'cost':
            return cost(Number(words[1]));
        case 'acquire':
        case 'work':
            release = await acquire();
            return `got ${now()}`;
        case 'release': {
            const start = now();
            await release();
            return `released ${start}`;
        }
        case 'hammer':
            return hammer(BigInt(words[1]), BigInt(words[2]));
        case 'try':
            return tryAt(BigInt(words[1]), Number(words[2]), words[3]);
        case 'corpse': {
            // The remains of a killed holder, an hour later.
            fs.mkdirSync(`${file}.lock`);
            const then = Date.now() / 1000 - 3600;
            fs.utimesSync(`${file}.lock`, then, then);
            return 'ok';
        }
        default:
            throw new Error(`no such command: ${line}`);
    }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
    answer(line).then(say, (error) => {
        process.stderr.write(`${error.stack}\n`);
        process.exit(1);
    });
}).on('close', () => process.exit(0));
