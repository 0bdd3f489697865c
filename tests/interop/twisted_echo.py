"""A Twisted server that echoes: twisted_echo.py int32|netstring

It prints its port, serves one connection, and ends with it.
"""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import Int32StringReceiver, NetstringReceiver

receiver = {
    "int32": Int32StringReceiver,
    "netstring": NetstringReceiver,
}[sys.argv[1]]


class Echo(receiver):
    def stringReceived(self, payload):
        self.sendString(payload)

    def connectionLost(self, reason):
        reactor.stop()


factory = Factory.forProtocol(Echo)
listener = reactor.listenTCP(0, factory, interface="127.0.0.1")
print(listener.getHost().port, flush=True)
reactor.run()
