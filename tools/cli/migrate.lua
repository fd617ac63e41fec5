-- migrate.lua: `lunation migrate`: move chosen instances to other code, after a look; through the server, or straight in the data
-- directory.
local args = require "args"
local data = require "data"
local fits = require "fits"
local lunation = require "lunation"
local versions = require "versions"

local migrate = {
  name = "migrate",
  summary = "Move instances to other code, if they fit it",
  usage = "migrate ID... --to HASH | migrate --workflow NAME --to HASH [--attr NAME=VALUE] [--dry-run]",
  about = [[
Each chosen instance that is not finished is tried with the code first; those that are compatible are moved, others stay as they are and are
told of. The code is named by its hash (`lunation versions` lists it, its first digits are enough), or counted back: order~1 is the version
before the current one of `order`. Without --to, under a server, it is the current code.]],
  arguments = { 0, 1000 },
  options = {
    { "--to HASH", "the code to move to" },
    { "--workflow, --name NAME", "the instances of this workflow" },
    { "--prefix TEXT", "only ids that begin so" },
    { "--attr NAME=VALUE...", "only with this attribute; may be given again" },
    { "--policy POLICY", "adopt (default), or all_or_nothing: nothing is moved unless all fit" },
    { "--dry-run", "only look" },
  },
  examples = "  lunation migrate trip-7 --to 4f2a91c07d13\n  lunation migrate --workflow order --to 4f2a91c07d13 --dry-run",
}

local function chosen(parsed, command)
  local options = { workflow = parsed.workflow, prefix = parsed.prefix, attributes = data.attributes(parsed, command) }
  if #parsed > 0 and next(options) then args.usage_error(command, "lunation migrate: name ids or conditions, not both") end
  if #parsed == 0 and not next(options) then
    args.usage_error(command, "lunation migrate: name instances, or a condition such as --workflow NAME")
  end
  if #parsed > 0 then
    options.ids = {}
    for i, id in ipairs(parsed) do options.ids[i] = id end
  end
  return options
end

local function through_server(parsed, options)
  local body = options.ids and lunation.json_encode({ ids = options.ids }) or nil
  local query = fits.query({
    workflow = options.workflow, prefix = options.prefix, hash = options.hash, policy = options.policy,
    attributes = options.attributes and lunation.json_encode(options.attributes), dry_run = options.dry_run and "true" or nil,
  })
  return fits.from_server(data.ask(parsed, "POST", "/v1/migrate" .. query, body))
end

local function named(parsed)
  local rt = data.open_to_read(parsed)
  local hash = versions.find(data.check(rt:versions()), parsed.to)
  data.close(rt)
  return hash
end

function migrate.run(parsed, command)
  local options = chosen(parsed, command)
  options.policy, options.hash, options.dry_run = fits.policy(parsed, command), parsed.to and named(parsed), parsed.dry_run
  if options.policy == "pin" then args.usage_error(command, "lunation migrate: --policy is adopt or all_or_nothing") end
  if data.served(parsed) then return fits.report_end(parsed, through_server(parsed, options)) end
  if not options.hash then
    data.fail("no server runs on this data directory, so no code is current: name it with --to (lunation versions)", "LNT_EINVAL")
  end
  local rt = data.open_briefly(parsed)
  options.now, options.limit = true, 100
  local summary, message, code, refused = rt:migrate(options)
  data.check(summary or (code == "LNT_EDIVERGED" and refused) or nil, message, code)
  data.close(rt)
  return fits.report_end(parsed, summary or refused)
end

return migrate
