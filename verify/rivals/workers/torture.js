// The worker for proper-lockfile in the torture: `torture.js ORDERS`, started by `lockbydir-torture`.
//
// It waits, holds and releases, again and again, and writes its history to its standard output, in the
// format of the module `history` of `lockbydir-proof`; it ends when its standard input does. The lock is
// used as its manual describes, with the shortest staleness that it allows, and tried often.

'use strict';

const fs = require('fs');
const path = require('path');

const lockfile = require(path.join(process.env.RIVALS_NODE_MODULES, 'proper-lockfile'));
const orders = JSON.parse(process.argv[2]);

const PAUSE_MS = 5;
const ONE_LONG_IN = 32;
const LONGER = 100;
// The margin by which ours shortens its own deadline: a twentieth of the timeout, at most a second.
const MARGIN_MS = Math.min(orders.timeout_ms / 20, 1000);

// The torture's clock is the boot clock; node has only the monotonic one.
const now = () => process.hrtime.bigint() + BigInt(orders.behind_ns);
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
// One write per line, into a pipe that all workers share.
const record = (line) => fs.writeSync(1, `${orders.name} ${line}\n`);

async function hold(since) {
    let compromised = false;
    const asked = now();
    let release;
    try {
        release = await lockfile.lock(orders.lock, {
            stale: orders.timeout_ms,
            update: orders.timeout_ms / 2,
            onCompromised: () => { compromised = true; },
        });
    } catch (error) {
        if (error.code !== 'ELOCKED') record(`failed acquire: ${error.code}`);
        return false;
    }
    const start = now();
    const deadline = asked + BigInt((orders.timeout_ms - MARGIN_MS) * 1e6);
    // It has no numbers: the time is used instead.
    record(`start ${start} ${deadline > start ? deadline : start} ${start} free ${since} ${asked}`);
    const long = Math.random() * ONE_LONG_IN < 1 ? LONGER : 1;
    await sleep((Math.random() * orders.hold_ns * long) / 1e6);

    if (compromised) {
        record(`lost ${now()}`);
        return true;
    }
    record(`end ${now()}`);
    try {
        await release();
        record('released');
    } catch (error) {
        record(error.code === 'ERELEASED' ? `lost ${now()}` : `failed release: ${error.code}`);
    }
    return true;
}

async function work() {
    fs.writeFileSync(orders.lock, '', { flag: 'a' });
    for (;;) {
        const since = now();
        while (!await hold(since)) await sleep(PAUSE_MS);
    }
}

process.stdin.on('end', () => process.exit(0)).resume();
work().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
});
