"""A Twisted client: twisted_client.py line|int32|netstring PORT

Its input is one request a line, in hex. It sends them all at once, half-closes,
and prints what it receives the same way until the server closes.
"""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory
from twisted.protocols.basic import (
    Int32StringReceiver,
    LineReceiver,
    NetstringReceiver,
)

name, port = sys.argv[1:]
requests = [bytes.fromhex(line) for line in sys.stdin]


class Client:
    def connectionMade(self):
        for request in requests:
            self.send(request)
        self.transport.loseWriteConnection()

    def received(self, payload):
        print(payload.hex())

    def connectionLost(self, reason):
        reactor.stop()


class LineClient(Client, LineReceiver):
    send = LineReceiver.sendLine
    lineReceived = Client.received


class Int32Client(Client, Int32StringReceiver):
    send = Int32StringReceiver.sendString
    stringReceived = Client.received


class NetstringClient(Client, NetstringReceiver):
    send = NetstringReceiver.sendString
    stringReceived = Client.received


class Factory(ClientFactory):
    protocol = {
        "line": LineClient,
        "int32": Int32Client,
        "netstring": NetstringClient,
    }[name]

    def clientConnectionFailed(self, connector, reason):
        print(reason.getErrorMessage(), file=sys.stderr)
        reactor.stop()


reactor.connectTCP("127.0.0.1", int(port), Factory())
reactor.run()
