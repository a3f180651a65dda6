// proper-lockfile, in the torture: `torture.js ORDERS`, started by `lockbydir-torture`.
//
// It waits, holds and lets go, again and again, and tells its history on its standard output, as
// the module `history` of `lockbydir-proof` says; it ends when its standard input does. Its lock is
// used as its manual says, with the shortest staleness that it allows, and tried often.

'use strict';

const fs = require('fs');
const path = require('path');

const lockfile = require(path.join(process.env.RIVALS_NODE_MODULES, 'proper-lockfile'));
const orders = JSON.parse(process.argv[2]);

const PAUSE_MS = 5;
const ONE_LONG_IN = 32;
const LONGER = 100;
// What ours takes off its own deadline: a twentieth, at most a second.
const MARGIN_MS = Math.min(orders.timeout_ms / 20, 1000);

// The torturer's clock is the boot clock; node has the monotonic one.
const now = () => process.hrtime.bigint() + BigInt(orders.behind_ns);
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
// One write a line, into a pipe that all workers share.
const tell = (line) => fs.writeSync(1, `${orders.name} ${line}\n`);

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
        if (error.code !== 'ELOCKED') tell(`failed acquire: ${error.code}`);
        return false;
    }
    const start = now();
    const deadline = asked + BigInt((orders.timeout_ms - MARGIN_MS) * 1e6);
    // It has no numbers: the time stands in.
    tell(`start ${start} ${deadline > start ? deadline : start} ${start} free ${since} ${asked}`);
    const long = Math.random() * ONE_LONG_IN < 1 ? LONGER : 1;
    await sleep((Math.random() * orders.hold_ns * long) / 1e6);

    if (compromised) {
        tell(`lost ${now()}`);
        return true;
    }
    tell(`end ${now()}`);
    try {
        await release();
        tell('released');
    } catch (error) {
        tell(error.code === 'ERELEASED' ? `lost ${now()}` : `failed release: ${error.code}`);
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
