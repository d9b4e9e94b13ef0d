-- Wireshark dissector of the lab's UDP ping (docs/udp.md); what it shows and how: docs/wire.md.
--
--   wireshark -X lua_script:wireshark/progres-lab.lua FILE      or copy it to the plugins folder
--   tshark -2 -X lua_script:wireshark/progres-lab.lua -r FILE -Y 'labping.cause == "dropped by the server"'
--
-- What became of a ping is known only from later packets: its confirmation, and the server's
-- account at the end of the run. So what is said of it comes with the second pass: in Wireshark as
-- soon as a filter is set or a packet is clicked, in tshark with -2.
-- Lua 5.2 to 5.4 (Wireshark 3.6 to 4.4).

local lab = Proto("labping", "progres-lab UDP ping")

local f = {
    kind = ProtoField.string("labping.kind", "Kind"),
    run = ProtoField.string("labping.run", "Run"),
    request = ProtoField.uint32("labping.request", "Request"),
    attempt = ProtoField.uint32("labping.attempt", "Attempt"),
    number = ProtoField.uint32("labping.number", "Number of the datagram in its run"),
    message = ProtoField.string("labping.message", "Message"),
    cause = ProtoField.string("labping.cause", "What became of it"),
    answered_in = ProtoField.framenum("labping.answered_in", "Answered in", base.NONE, frametype.RESPONSE),
    answer_to = ProtoField.framenum("labping.answer_to", "Answer to", base.NONE, frametype.REQUEST),
    retry_of = ProtoField.framenum("labping.retry_of", "Retry of"),
    waited = ProtoField.relative_time("labping.waited", "Waited since that attempt"),
    time = ProtoField.relative_time("labping.time", "Time since the question"),
    size = ProtoField.uint32("labping.size", "Bytes of the question"),
    received = ProtoField.absolute_time("labping.received", "Received by the server", base.UTC),
    held = ProtoField.relative_time("labping.held", "Held by the server"),
    by_kernel = ProtoField.bool("labping.by_kernel", "By a kernel stamp"),
    first = ProtoField.uint32("labping.first", "First datagram"),
    last = ProtoField.uint32("labping.last", "Last datagram"),
    complete = ProtoField.double("labping.complete", "Complete for the last seconds"),
    drop = ProtoField.string("labping.drop", "Drop probability"),
    codes = ProtoField.string("labping.codes", "Codes"),
}
lab.fields = f

local e = {
    retry = ProtoExpert.new("labping.expert.retry", "Retry", expert.group.SEQUENCE, expert.severity.NOTE),
    late = ProtoExpert.new("labping.expert.late", "Answered late", expert.group.SEQUENCE, expert.severity.WARN),
    dropped = ProtoExpert.new(
        "labping.expert.dropped", "Dropped by the server on purpose", expert.group.RESPONSE_CODE, expert.severity.WARN
    ),
    lost = ProtoExpert.new("labping.expert.lost", "Lost by the network", expert.group.SEQUENCE, expert.severity.ERROR),
}
lab.experts = e

lab.prefs.port = Pref.uint("UDP port", 1234, "The server's port")

local ANSWERED, LATE = "answered", "answered late"
local DROPPED, THERE, BACK = "dropped by the server", "lost on the way there", "lost on the way back"
local UNKNOWN = "unknown"

-- What has been seen so far; filled on the first pass, in the order of the packets.
local runs    -- client .. run -> { pings = by "request.attempt", numbers = by number, newest = by request, fates }
local plain   -- client -> questions without a head, in order
local frames  -- frame number -> what it is

function lab.init()
    runs, plain, frames = {}, {}, {}
end

local function endpoint(address, port)
    return tostring(address) .. "|" .. port
end

local function run_of(client, name)
    local key = client .. "|" .. name
    if not runs[key] then
        runs[key] = { pings = {}, numbers = {}, newest = {}, fates = {} }
    end
    return runs[key]
end

-- Return a count of an account's code: how often the datagram came to that end, 0 to 3.
local function count(code, place)
    return math.floor((code - 48) / place) % 4
end

local function cause_of(ping)
    if ping.answer then
        local late = ping.retry and ping.retry.time < ping.answer.time
        return late and LATE or ANSWERED
    end
    local fate = ping.number and ping.run and ping.run.fates[ping.number]
    if not fate or fate.since > ping.time then
        return UNKNOWN
    end
    local answered, dropped, unanswered = count(fate.code, 1), count(fate.code, 4), count(fate.code, 16)
    if answered + dropped + unanswered == 0 then
        return THERE
    end
    return (answered + unanswered == 0) and DROPPED or BACK
end

-- Reading: each returns nil where the text is something else. A place is a byte's number, from 1.

local function read_ping(text, from)
    local pattern = "^ping ()(%x%x%x%x%x%x%x%x)() ()(%d+)()%.()(%d+)()"
    local r, run, r2, q, request, q2, a, attempt, a2 = text:match(pattern, from)
    if not r then
        return nil
    end
    local n, number, n2 = text:match("^ #()(%d+)():", a2)
    local colon = n2 or text:match("^():", a2)
    if not colon then
        return nil
    end
    return {
        run = run:lower(), run_at = { r, r2 }, request = tonumber(request), request_at = { q, q2 },
        attempt = tonumber(attempt), attempt_at = { a, a2 },
        number = tonumber(number), number_at = n and { n, n2 }, rest = colon + 1,
    }
end

local function read_confirmation(text)
    local s, size, s2 = text:match("^received ()(%d+)() bytes")
    if not s then
        return nil
    end
    local told = { size = tonumber(size), size_at = { s, s2 } }
    local t, mark, seconds, nanoseconds, t2, h, held, h2 = text:match("^ at ()(~?)(%d+)%.(%d+)() %+()(%d+)()ns", s2 + 6)
    local quote = s2 + 6
    if t then
        told.received = NSTime.new(tonumber(seconds), tonumber(nanoseconds))
        told.received_at, told.by_kernel = { t, t2 }, mark == ""
        told.held = NSTime.new(math.floor(tonumber(held) / 1e9), math.floor(tonumber(held) % 1e9))
        told.held_at, quote = { h, h2 }, h2 + 2
    end
    told.quote = text:match("^: ()", quote)
    return told
end

local function read_account(text)
    local pattern = "^account (%x%x%x%x%x%x%x%x) from (%d+), complete for ([%d.]+) s, drop (%S+): ()([0-o]+)()\n$"
    local run, first, complete, drop, c, codes, c2 = text:match(pattern)
    if not run then
        return nil
    end
    return {
        run = run, first = tonumber(first), complete = tonumber(complete), drop = drop, codes = codes, codes_at = { c, c2 },
    }
end

-- First pass: what belongs together.

local function note_ping(ping, frame, client)
    local run = run_of(client, ping.run)
    local key = ping.request .. "." .. ping.attempt
    local seen = run.pings[key]
    if seen then -- a copy that the network made
        frame.ping = seen
        return
    end
    local entry = { frame = frame.number, time = frame.time, number = ping.number, run = run }
    local before = run.newest[ping.request]
    if before then
        before.retry, entry.before = entry, before
    end
    run.newest[ping.request], run.pings[key], frame.ping = entry, entry, entry
    if ping.number then
        run.numbers[ping.number] = entry
    end
end

local function note_plain_answer(frame, client, quoted)
    local questions = plain[client] or {}
    for i = #questions, 1, -1 do
        local question = questions[i]
        if question.text == quoted or question.text == quoted:gsub("\n$", "") then
            question.answer = question.answer or { frame = frame.number, time = frame.time }
            frame.answers = question
            return
        end
    end
end

local function note(text, pinfo, from_server)
    local frame = { number = pinfo.number, time = pinfo.rel_ts }
    local client = from_server and endpoint(pinfo.dst, pinfo.dst_port) or endpoint(pinfo.src, pinfo.src_port)
    frames[pinfo.number] = frame
    local ping, account = read_ping(text, 1), read_account(text)
    if ping then
        note_ping(ping, frame, endpoint(pinfo.src, pinfo.src_port))
    elseif account then
        local run = run_of(client, account.run)
        for i = 1, #account.codes do
            run.fates[account.first + i - 1] = { code = account.codes:byte(i), since = frame.time - account.complete }
        end
        frame.run = run
    elseif from_server then
        local told = read_confirmation(text)
        local quoted = told and told.quote and read_ping(text, told.quote)
        if quoted then
            local answered = run_of(client, quoted.run).pings[quoted.request .. "." .. quoted.attempt]
            if answered then
                answered.answer = answered.answer or { frame = frame.number, time = frame.time }
                frame.answers = answered
            end
        elseif told then
            note_plain_answer(frame, client, told.quote and text:sub(told.quote) or "")
        end
    elseif not text:match("^account%? ") then
        plain[client] = plain[client] or {}
        local question = { text = text, frame = frame.number, time = frame.time }
        table.insert(plain[client], question)
        frame.ping = question
    end
end

-- Every pass: what is shown.

local function add(tree, tvb, field, at, value)
    if at then
        return tree:add(field, tvb(at[1] - 1, at[2] - at[1]), value)
    end
    local item = tree:add(field, value)
    item:set_generated()
    return item
end

local function seconds(duration)
    local whole = math.floor(duration)
    return NSTime.new(whole, math.floor((duration - whole) * 1e9 + 0.5))
end

local function show_ping(tree, tvb, ping)
    add(tree, tvb, f.run, ping.run_at, ping.run)
    add(tree, tvb, f.request, ping.request_at, ping.request)
    add(tree, tvb, f.attempt, ping.attempt_at, ping.attempt)
    if ping.number then
        add(tree, tvb, f.number, ping.number_at, ping.number)
    end
end

local EXPERT = { [DROPPED] = e.dropped, [THERE] = e.lost, [BACK] = e.lost, [LATE] = e.late }

local function show_fate(tree, tvb, entry)
    local cause = cause_of(entry)
    local item = add(tree, tvb, f.cause, nil, cause)
    if EXPERT[cause] then
        item:add_proto_expert_info(EXPERT[cause], cause)
    end
    if entry.answer then
        add(tree, tvb, f.answered_in, nil, entry.answer.frame)
    end
    if entry.before then
        local retry = add(tree, tvb, f.retry_of, nil, entry.before.frame)
        local waited = entry.time - entry.before.time
        add(tree, tvb, f.waited, nil, seconds(waited))
        retry:add_proto_expert_info(e.retry, string.format("retry, %.0f ms after the attempt before", waited * 1000))
    end
    return cause
end

local function show_confirmation(tree, tvb, text, told, frame)
    add(tree, tvb, f.size, told.size_at, told.size)
    if told.received then
        add(tree, tvb, f.received, told.received_at, told.received)
        add(tree, tvb, f.by_kernel, nil, told.by_kernel)
        add(tree, tvb, f.held, told.held_at, told.held)
    end
    local quoted = told.quote and read_ping(text, told.quote)
    if quoted then
        show_ping(tree, tvb, quoted)
    end
    if frame.answers then
        add(tree, tvb, f.answer_to, nil, frame.answers.frame)
        add(tree, tvb, f.time, nil, seconds(frame.time - frame.answers.time))
    end
    return quoted
end

local function show_account(tree, tvb, account, frame)
    add(tree, tvb, f.run, nil, account.run)
    add(tree, tvb, f.first, nil, account.first)
    add(tree, tvb, f.complete, nil, account.complete)
    add(tree, tvb, f.drop, nil, account.drop)
    local codes = add(tree, tvb, f.codes, account.codes_at, account.codes)
    for i = 1, #account.codes do
        local number, code = account.first + i - 1, account.codes:byte(i)
        local seen = frame.run and frame.run.numbers[number]
        if seen then
            codes:add(string.format("datagram %d (frame %d): %s", number, seen.frame, cause_of(seen)))
        elseif code == 48 then
            local item = codes:add(string.format("datagram %d: %s, before this interface", number, THERE))
            item:add_proto_expert_info(e.lost, string.format("datagram %d did not even pass this interface", number))
        end
    end
end

function lab.dissector(tvb, pinfo, root)
    local text = tvb:len() > 0 and tvb:raw() or ""
    local from_server = pinfo.src_port == lab.prefs.port or pinfo.src_port == pinfo.match_uint
    if text:match("^ping ") or text:match("^account%? ") then
        from_server = false
    end
    if not pinfo.visited then
        note(text, pinfo, from_server)
    end
    local frame = frames[pinfo.number] or { number = pinfo.number, time = pinfo.rel_ts }
    local tree = root:add(lab, tvb())
    local ping, account = read_ping(text, 1), read_account(text)
    local kind, info
    pinfo.cols.protocol = "UDP ping"
    if ping then
        kind = "ping"
        show_ping(tree, tvb, ping)
        local message = text:sub(ping.rest):gsub("^ ", "")
        if #message > 0 then
            tree:add(f.message, tvb(tvb:len() - #message), message)
        end
        info = string.format("request %d, attempt %d", ping.request, ping.attempt)
        if frame.ping then
            local cause = show_fate(tree, tvb, frame.ping)
            info = info .. (cause == UNKNOWN and "" or ": " .. cause)
        end
    elseif account then
        kind, info = "account", "account of run " .. account.run
        show_account(tree, tvb, account, frame)
    elseif text:match("^account%? ") then
        local run, first, last = text:match("^account%? (%x+) (%d+) (%d+)")
        kind, info = "account question", "what became of run " .. (run or "?") .. "?"
        if run then
            add(tree, tvb, f.run, nil, run)
            add(tree, tvb, f.first, nil, tonumber(first))
            add(tree, tvb, f.last, nil, tonumber(last))
        end
    elseif from_server then
        local told = read_confirmation(text)
        kind, info = told and "confirmation" or "answer", "answer"
        if told then
            local quoted = show_confirmation(tree, tvb, text, told, frame)
            info = quoted and string.format("confirmation of request %d, attempt %d", quoted.request, quoted.attempt)
                or string.format("confirmation of %d bytes", told.size)
        end
    elseif text == "progres-lab health check\n" then
        kind, info = "health check", "health check"
    else
        kind, info = "question", string.format("question, %d bytes", #text)
        if #text > 0 then
            tree:add(f.message, tvb(), text)
        end
        if frame.ping then
            local cause = show_fate(tree, tvb, frame.ping)
            info = info .. (cause == UNKNOWN and "" or ": " .. cause)
        end
    end
    add(tree, tvb, f.kind, nil, kind)
    tree:append_text(", " .. info)
    pinfo.cols.info = info
    return tvb:len()
end

local table_of_ports = DissectorTable.get("udp.port")
local registered

local function register()
    if registered ~= lab.prefs.port then
        if registered then
            table_of_ports:remove(registered, lab)
        end
        table_of_ports:add(lab.prefs.port, lab)
        registered = lab.prefs.port
    end
end

lab.prefs_changed = register
register()
