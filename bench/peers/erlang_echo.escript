#!/usr/bin/env escript
%% Echo on Erlang's gen_tcp, with framing: escript erlang_echo.escript line|length
%%
%% A process per connection. The virtual machine finds each frame and frames the
%% reply ({packet, line} or {packet, 4}); one send per request, as gen_tcp has
%% it. No size limit, no deadline.
-mode(compile).

main([Framing]) ->
    Packet = case Framing of "length" -> 4; "line" -> line end,
    {ok, Listener} = gen_tcp:listen(0, [
        binary, {packet, Packet}, {active, false}, {nodelay, true},
        {backlog, 4096}, {ip, {127, 0, 0, 1}}
    ]),
    {ok, Port} = inet:port(Listener),
    io:format("~b~n", [Port]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Request} ->
            case gen_tcp:send(Socket, Request) of
                ok -> serve(Socket);
                {error, _} -> gen_tcp:close(Socket)
            end;
        {error, _} -> gen_tcp:close(Socket)
    end.
