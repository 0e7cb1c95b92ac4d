# shellcheck shell=bash
# apt-sources.sh - where this machine gets Debian from, for systems that are made anew

# Sources of Debian's archive that carry the suite: whole deb822 stanzas, else lines.
apt_stanzas() {
    local file

    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        awk -v RS= -v ORS='\n\n' -v suite="$1" \
            '$0 ~ "Suites:[^\n]*" suite && /URIs:[^\n]*debian/ && !/ports/ && /Components:[^\n]*main/' \
            "$file"
    done
}

apt_lines() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        grep -E "^deb .*debian.* $1[^ ]* .*main" || :
}

# apt_sources SUITE FOLDER: writes FOLDER/debian.sources or FOLDER/debian.list and prints its
# path; fails, and says so, when the machine has no source of that suite.
apt_sources() {
    local suite=$1 list=$2/debian.sources

    rm -f "$2/debian.sources" "$2/debian.list"
    apt_stanzas "$suite" >"$list"
    if ! [ -s "$list" ]; then
        rm -f "$list"
        list=$2/debian.list
        apt_lines "$suite" >"$list"
    fi
    if ! [ -s "$list" ]; then
        echo "no apt source for Debian $suite: put one into /etc/apt/sources.list" >&2
        return 1
    fi
    echo "$list"
}
