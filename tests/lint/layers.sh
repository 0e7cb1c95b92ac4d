#!/bin/bash
# Every #include "a/b/c.h" must be allowed by tests/lint/layers, and every folder
# with C in it must be listed there.
set -u
cd "${srcdir:-.}" || exit 1

# One line per include, and one without for each file: FILE:INCLUDE
includes() {
    find . \( -name build -o -name _build \) -prune -o -name '*.[ch]' ! -path './config.h' -print | sort |
        sed 's|^\./||' | xargs awk 'FNR == 1 { print FILENAME ":" }
            match($0, /^ *# *include "[^"]*"/) { sub(/^[^"]*"/, ""); sub(/".*/, ""); print FILENAME ":" $0 }'
}

includes | awk -F: '
    # The nearest listed folder above a file.
    function folder_of(at) {
        while (sub(/\/[^\/]*$/, "", at))
            if (at in allowed)
                return at
        return ""
    }
    BEGIN {
        while ((getline line < "tests/lint/layers") > 0) {
            split(line, word, " ")
            if (line !~ /^[ \t]*(#|$)/) {
                allowed[word[1]] = line " "
                sub(/^[^ ]+/, "", allowed[word[1]])
            }
        }
    }
    { folder = folder_of($1) }
    $2 == "" {
        if (folder == "")
            bad["unlisted"] = bad["unlisted"] "# " $1 " is in a folder that tests/lint/layers does not list\n"
        else if (!(folder in seen))
            order[++n] = folder
        seen[folder] = 1
        next
    }
    folder == "" || allowed[folder] ~ / \* / || $2 == "config.h" { next }
    {
        target = folder_of($2)
        if (target != folder && index(allowed[folder], " " (target == "" ? "nowhere" : target) " ") == 0)
            bad[folder] = bad[folder] "# " $1 " includes \"" $2 "\"\n"
    }
    function tell(number, name, lines) {
        printf "%s %d - %s\n%s", lines == "" ? "ok" : "not ok", number, name, lines
    }
    END {
        tell(1, "every_folder_is_listed", bad["unlisted"])
        for (i = 1; i <= n; i++) {
            name = order[i]
            gsub(/\//, "_", name)
            tell(i + 1, name "_includes_what_it_may", bad[order[i]])
        }
        print "1.." n + 1
    }'
