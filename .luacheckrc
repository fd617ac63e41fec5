-- luacheck reads this. Workflow files get the authoring names and see only what the sandbox has; everything else is plain LuaJIT.
std = "luajit"
max_line_length = false -- tools/check/tidy measures lines, of every language
cache = false
exclude_files = { "build*/**" }

-- What an author's file may name besides the Lua basics. `activity` bodies run in an ordinary LuaJIT, so their globals are allowed too.
stds.lunation = {
  read_globals = { "workflow", "activity" },
}

files["workflows/**/*.lua"] = { std = "luajit+lunation" }
files["bindings/c/agents/*.lua"] = { std = "luajit+lunation" }
files["spec/**/*.lua"] = { std = "luajit+busted+lunation" }
files["workflows/**/*_spec.lua"] = { std = "luajit+busted+lunation" }
files[".busted"] = { std = "luajit" }
