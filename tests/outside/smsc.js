// An SMSC made with node-smpp: what it takes and is told goes out and comes in as JSON lines.
// node smsc.js PORT PASSWORD; NODE_PATH has the package. Commands on stdin: {"do": "deliver_sm" | "data_sm", its
// fields}, {"do": "throttle", "count": N} (submits after the first), {"do": "unbind"}.
'use strict';
const readline = require('readline');
const smpp = require('smpp');

const [port, password] = [Number(process.argv[2]), process.argv[3]];
let receiving = null;
let throttled = 0; // how many submits are still refused
let taken = 0;

function say(what) { process.stdout.write(JSON.stringify(what) + '\n'); }

function submitted(session, pdu) {
  if (throttled > 0 && taken > 0) {
    throttled -= 1;
    session.send(pdu.response({command_status: smpp.ESME_RTHROTTLED}));
    say({event: 'throttled'});
    return;
  }
  taken += 1;
  const message = pdu.short_message.message;
  const id = String(taken).padStart(10, '0');
  session.send(pdu.response({message_id: id}));
  say({event: 'submit', id, to: pdu.destination_addr, receipt: pdu.registered_delivery,
    reference: pdu.user_message_reference, text: Buffer.isBuffer(message) ? message.toString('hex') : message});
}

const server = smpp.createServer((session) => {
  session.on('error', () => {});
  for (const kind of ['bind_transceiver', 'bind_transmitter', 'bind_receiver']) {
    session.on(kind, (pdu) => {
      const refused = pdu.password !== password;
      session.send(pdu.response({command_status: refused ? smpp.ESME_RBINDFAIL : 0, system_id: 'node-smpp'}));
      say({event: kind, refused});
      if (!refused && kind !== 'bind_transmitter') receiving = session;
    });
  }
  session.on('submit_sm', (pdu) => submitted(session, pdu));
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); say({event: 'unbind'}); session.close(); });
  session.on('unbind_resp', () => session.close());
});
server.on('error', (error) => { say({event: 'error', what: error.code}); process.exit(1); });
server.listen(port, '127.0.0.1', () => say({event: 'listening'}));

readline.createInterface({input: process.stdin}).on('line', (line) => {
  const {do: what, ...fields} = JSON.parse(line);
  const answered = (pdu) => say({event: 'answer', status: pdu.command_status});
  if (what === 'throttle') throttled = fields.count;
  else if (what === 'unbind') receiving.unbind(answered);
  else receiving[what](fields, answered);
}).on('close', () => process.exit(0));
