#!/usr/bin/env escript
%% A gen_tcp server that echoes: erlang_echo.escript 4|line
%%
%% It prints its port, serves one connection, and ends with it.

main([Packet]) ->
    {ok, Listener} = gen_tcp:listen(0, [
        binary,
        {ip, {127, 0, 0, 1}},
        {active, false},
        {packet, packet(Packet)},
        %% A line longer than this buffer would come in pieces.
        {buffer, 128 * 1024}
    ]),
    {ok, Port} = inet:port(Listener),
    io:format("~b~n", [Port]),
    {ok, Socket} = gen_tcp:accept(Listener),
    echo(Socket).

packet("4") -> 4;
packet("line") -> line.

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Frame} ->
            ok = gen_tcp:send(Socket, Frame),
            echo(Socket);
        {error, closed} ->
            ok
    end.
