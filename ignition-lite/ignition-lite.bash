# SPDX-License-Identifier: Apache-2.0
# bash completion for ignition-lite(8)
_ignition_lite() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
	local find='--root --config --force --platform --host --json --quiet --help'

	case $prev in
	--root | --host)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--config | --ca)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--platform) words='metal qemu azure file' ;;
	--timeout | --imds) return ;;
	esac
	if [ -z "$words" ]; then
		case ${COMP_WORDS[1]} in
		apply) [ "$COMP_CWORD" = 1 ] || words="$find --explain --dry-run --timeout --ca --imds" ;;
		probe) [ "$COMP_CWORD" = 1 ] || words=$find ;;
		validate)
			[[ $COMP_CWORD = 1 || $cur == -* ]] || {
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
				return
			}
			words='--json --help'
			;;
		esac
	fi
	[ "$COMP_CWORD" != 1 ] || words='apply probe validate --help --version'
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _ignition_lite ignition-lite
