#!/usr/bin/env escript
%% A gen_tcp client: erlang_client.escript 4|line PORT
%%
%% Its input is one request a line, in hex. It sends them all at once,
%% half-closes, and prints what it receives the same way until the server
%% closes.

main([Packet, Port]) ->
    ok = io:setopts([binary, {encoding, latin1}]),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), [
        binary,
        {active, false},
        {packet, packet(Packet)},
        %% A line longer than this buffer would come in pieces.
        {buffer, 128 * 1024}
    ]),
    send(Packet, Socket),
    ok = gen_tcp:shutdown(Socket, write),
    print(Packet, Socket).

packet("4") -> 4;
packet("line") -> line.

send(Packet, Socket) ->
    case io:get_line("") of
        eof ->
            ok;
        Line ->
            Request = binary:decode_hex(string:trim(Line)),
            ok = gen_tcp:send(Socket, [Request, ending(Packet)]),
            send(Packet, Socket)
    end.

print(Packet, Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Frame} ->
            Length = byte_size(Frame) - byte_size(ending(Packet)),
            <<Payload:Length/binary, _/binary>> = Frame,
            io:put_chars([binary:encode_hex(Payload), $\n]),
            print(Packet, Socket);
        {error, closed} ->
            ok
    end.

%% A length is put on and taken off by gen_tcp; a line's end is not.
ending("4") -> <<>>;
ending("line") -> <<"\n">>.
