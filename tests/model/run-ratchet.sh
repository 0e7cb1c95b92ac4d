#!/bin/bash
# Verifies the model, its witnesses and its mutants, one after the other; prints verdict, states and seconds, then `N passed, N failed`.
# Needs spin, gcc, 6 GiB; `run-ratchet.sh deep` runs larger budgets instead. `run-ratchet.sh only NAME...` runs what is named.
# Verified runs store whole states (-DCOLLAPSE), nothing is hashed away. Mutants and witnesses may use hash compaction: an error
# found is a real path.
cd "$(dirname "$0")" || exit 2; W=$(mktemp -d); trap 'rm -rf "$W"' EXIT; PASS=0; FAIL=0; ONLY=; [ "$1" = only ] && { shift; ONLY=" $* "; }
Z="-DMAXAR=0 -DMAXRES=0 -DMAXREP=0"
C="-DMAXCP=0 -DMAXSW=0 -DMAXOUT=0 -DMAXB=3 -DMAXAR=1 -DMAXLOSS=2 -DMAXRES=1 -DMAXREP=1"    # crashes, losses, duplicates, replay
C2=${C/MAXB=3/MAXB=2}; K="$C2 -DMAXCLR=1"; K1=${K/MAXLOSS=2/MAXLOSS=1}                      # ... and TPM2_Clear or ClockSet
R="-DMAXB=3 $Z -DMAXLOSS=1 -DMAXSW=2"                                                      # copies, put-backs, outside runs
R4="-DMAXB=4 $Z -DMAXLOSS=0 -DMAXSW=1 -DMAXOUT=0 -DNOLATER"
L="-DLEAK -DMAXB=3 $Z -DMAXLOSS=1 -DMAXSW=0"
M0="-DMAXCP=0 -DMAXSW=0 -DMAXOUT=1 -DOLDHOST -DMAXLOSS=1"                                  # the running VM moves
M="$M0 -DMAXB=2 -DMAXAR=1 -DMAXRES=1 -DMAXREP=1 -DMAXMIG=1"; M2="$M0 -DMAXB=2 $Z -DMAXMIG=2"; M3="$M0 -DMAXB=3 $Z -DMAXMIG=1"
A="-DMAXB=3 $Z -DMAXLOSS=1 -DMAXSW=1 -DMAXACC=1 -DMAXOUT=0"                                # the operator accepts a put-back
I="-DINJECT -DMAXB=3 $Z -DMAXLOSS=0 -DMAXSW=1 -DMAXOUT=0"
one() { # kind name flags
  [ -n "$ONLY" ] && case $ONLY in *" $2 "*) ;; *) return;; esac
  local d=$W/$2 t=$SECONDS e n inc why v o; mkdir -p "$d"; cp ratchet.pml "$d/"; cd "$d" || exit 2
  case $1 in loop|mutl) o="-DNP -DCOLLAPSE";; ok) o="-DSAFETY -DCOLLAPSE";; *) o="-DSAFETY -DHC4";; esac
  # shellcheck disable=SC2046,SC2086
  spin -a $3 ratchet.pml >spin.out 2>&1 && gcc -O2 -w $o -DMEMLIM=5000 -o pan pan.c &&
    timeout "${TMO:-280}" ./pan -m100000 -w25 $(case $1 in loop|mutl) echo -l;; esac) >out 2>&1
  e=$(grep -oE 'errors: [0-9]+' out | grep -oE '[0-9]+'); n=$(grep -E 'states, stored' out | head -1 | grep -oE '^ *[0-9]+' | xargs)
  inc=$(grep -cE 'Search not completed|out of memory|max search depth' out); why=$(grep -oE 'assertion violated.*|non-progress cycle' out | head -1 | sed 's/assertion violated//' | cut -c1-100)
  case $1 in
  ok|loop) [ "$e" = 0 ] && [ "$inc" = 0 ] && v=VERIFIED || v="FAILED $why" ;;
  mut|mutl) [ "${e:-0}" -gt 0 ] && v="CAUGHT  $why" || v="NOT CAUGHT" ;;
  wit) [ "${e:-0}" -gt 0 ] && v=REACHED || v="NOT REACHED" ;; esac
  case $v in VERIFIED|CAUGHT*|REACHED) PASS=$((PASS+1));; *) FAIL=$((FAIL+1));; esac
  printf '%-5s %-20s %10s states %4s s  %s\n' "$1" "$2" "$n" $((SECONDS-t)) "$v"; cd "$OLDPWD" || exit 2; rm -rf "$d"; }
end() { echo "$PASS passed, $FAIL failed"; [ "$FAIL" = 0 ]; exit; }
if [ "$1" = deep ]; then
  one ok deep-4boots "${R4/MAXLOSS=0/MAXLOSS=1}"; one ok deep-2copies "${R/MAXLOSS=1/MAXLOSS=0} -DMAXCP=2 -DNOLATER"; end; fi
one ok crash "$C"; one loop crash-noloop "$C2"; one ok first "$C2 -DAK0=0"
one ok clear "$K"; one loop clear-noloop "$K1"
one ok rollback "$R"; one ok rollback-4boots "$R4"; one ok leak "$L"
one ok migrate "$M"; one ok migrate-back "$M2"; one ok migrate-3boots "$M3"; one ok migrate-clear "$M0 -DMAXB=2 -DMAXAR=0 -DMAXRES=1 -DMAXREP=0 -DMAXMIG=1 -DMAXCLR=1"
one ok accept "$A"; one ok accept-leak "$A -DLEAK"; one ok accept-move "-DMAXB=2 $Z -DMAXLOSS=1 -DMAXSW=1 -DMAXACC=1 -DMAXOUT=0 -DMAXPL=0 -DMAXMIG=1 -DNOLATER -DNO_R1"; one ok inject "$I"
one ok noindex-crash "$C -DNOIDX"; one ok noindex-rollback "$R -DNOIDX"; one ok noindex-migrate "$M -DNOIDX"; one ok noindex-accept "$A -DNOIDX"
one ok nosecret-crash "$C -DNOSEC"; one ok nosecret-rollback "$R -DNOSEC"; one ok nosecret-migrate "$M -DNOSEC"; one ok nosecret-accept "$A -DNOSEC"
one wit W_TOKEN "$C -DW_TOKEN"; one wit W_REFUSED "$R -DW_REFUSED"; one wit W_FORK "$R -DW_FORK"; one wit W_LEAK "$L -DW_LEAK"
one wit W_CLEARED "$K -DW_CLEARED"; one wit W_OLDHOST "$M -DW_OLDHOST"; one wit W_MOVED "$M2 -DW_MOVED"; one wit W_ACCEPTED "$A -DW_ACCEPTED"
one wit W_INJECTED "$I -DW_INJECTED"
for m in FORGET_EARLY DISK_FIRST EXTEND_FIRST NO_FSYNC NO_FSYNC_START NO_FSYNC_RESOLVE NO_TPM_SYNC NO_TPM_SYNC_START REPLY_FIRST LATE NO_MARK LATCH_STALE; do one mut $m "$C -DM_$m"; done
for m in BLIND NEW_V; do one mut ${m}_LATE "$C -DM_$m -DM_LATE_EXTEND"; done     # second line: matter when a late EXTEND is read
for m in EITHER ONE V_ON_DISK KEEP_PENDING TOKEN_EARLY MARK_EARLY LATCH_NOSIG NO_HOSTSIG; do one mut $m "$R -DM_$m"; done
for m in C3_COUNTERS_FIRST LATE_EXTEND; do one mut $m "$K -DM_$m"; done; one mutl C3_COUNTERS_REFUSE "$K1 -DM_C3_COUNTERS_REFUSE"
for m in NO_MIGRATE_STEP FRESH_STAYS; do one mut $m "$M -DM_$m"; done
for m in ACCEPT_SAME_EPOCH ACCEPT_ANY_STATE HOSTSIG_NOEPOCH; do one mut $m "$A -DM_$m"; done; one mut INJECT_SAME_EPOCH "$I -DM_INJECT_SAME_EPOCH"
one mut ACCEPT_STAYS "-DMAXB=4 $Z -DMAXLOSS=0 -DMAXSW=2 -DMAXCP=2 -DMAXACC=1 -DMAXOUT=0 -DMAXPL=0 -DNOLATER -DM_ACCEPT_STAYS"
end
